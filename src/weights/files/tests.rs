//! Models of several files, good and bad.

use super::*;
use crate::weights::gguf::tests_support::GgufWriter;
use crate::weights::source::{Chunk, MemorySource};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Runs a future that never waits.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("memory never makes anyone wait"),
    }
}

/// Files in memory.
#[derive(Default, Clone)]
pub(crate) struct Memory(pub BTreeMap<String, Vec<u8>>);

impl Files for Memory {
    type Source = MemorySource;

    async fn open(&mut self, name: &str) -> Result<Option<MemorySource>, SourceError> {
        Ok(self.0.get(name).map(|bytes| MemorySource::new(name, bytes.clone())))
    }
}

pub(crate) fn read(source: &mut impl Source, offset: u64, len: usize) -> Vec<u8> {
    run(source.read(offset, len)).map(Chunk::to_vec).expect("bytes")
}

fn tensor(file: GgufWriter, number: u8) -> GgufWriter {
    file.tensor(&format!("t{number}"), &[40], 1, vec![number; 80])
}

fn name(number: usize, count: usize) -> String {
    format!("m-{number:05}-of-{count:05}.gguf")
}

/// Three parts: metadata and two tensors, one tensor, two tensors.
fn parts() -> [GgufWriter; 3] {
    let part = |number| GgufWriter::new().u16("split.no", number).u16("split.count", 3).i32("split.tensors.count", 5);
    let first = part(0).string("general.architecture", "llama").string("x", "only here");
    [tensor(tensor(first, 1), 2), tensor(part(1), 3), tensor(tensor(part(2), 4), 5)]
}

fn files(parts: &[GgufWriter]) -> Memory {
    Memory(parts.iter().zip(1..).map(|(part, number)| (name(number, parts.len()), part.bytes())).collect())
}

fn fails(files: &Memory, words: &[&str]) {
    let error = run(open_gguf(&mut files.clone(), &name(1, 3))).map(|opened| opened.gguf).expect_err("a bad model");
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn every_part_opens_the_whole() {
    let files = files(&parts());
    let total: usize = files.0.values().map(Vec::len).sum();
    for number in 1..=3 {
        let mut opened = run(open_gguf(&mut files.clone(), &name(number, 3))).unwrap();
        assert_eq!(opened.layout, Layout::Split(3));
        assert_eq!(opened.source.len(), Some(total as u64));
        assert_eq!(opened.gguf.metadata.string("x"), Ok(Some("only here")));
        let names: Vec<&str> = opened.gguf.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, ["t1", "t2", "t3", "t4", "t5"]);
        for (tensor, value) in opened.gguf.tensors.clone().iter().zip(1..) {
            assert_eq!(read(&mut opened.source, tensor.offset, 80), [value; 80]);
            assert_eq!(read(&mut opened.source, tensor.offset + 7, 5), [value; 5]);
            assert!(run(opened.source.read(tensor.offset + 7, 80)).is_err());
        }
    }
}

#[test]
fn a_file_that_is_whole_needs_no_other() {
    let one = tensor(GgufWriter::new().u16("split.count", 1).u16("split.no", 0), 1).bytes();
    let mut files = Memory([("any.gguf".to_owned(), one.clone())].into());
    let mut opened = run(open_gguf(&mut files, "any.gguf")).unwrap();
    assert_eq!((opened.layout, opened.source.len()), (Layout::Gguf, Some(one.len() as u64)));
    let offset = opened.gguf.tensors[0].offset;
    assert_eq!(read(&mut opened.source, offset, 80), [1; 80]);
    assert!(matches!(run(open_gguf(&mut files, "none.gguf")), Err(OpenError::Source(SourceError::Open { .. }))));
}

#[test]
fn what_is_wrong_with_parts_is_named() {
    let good = parts();
    let mut missing = files(&good);
    missing.0.remove(&name(2, 3));
    fails(&missing, &["m-00002-of-00003.gguf is missing"]);

    let mut twice = files(&good);
    twice.0.insert(name(3, 3), good[1].bytes());
    fails(&twice, &["m-00003-of-00003.gguf should be part 3 of 3", "part 2"]);

    let [a, _, c] = parts();
    let b = tensor(GgufWriter::new().u16("split.no", 1).u16("split.count", 4).i32("split.tensors.count", 5), 3);
    fails(&files(&[a.clone(), b, c.clone()]), &["m-00002-of-00003.gguf", "4 parts", "say 3"]);
    let b = tensor(GgufWriter::new().u16("split.no", 1).u16("split.count", 3).i32("split.tensors.count", 9), 3);
    fails(&files(&[a.clone(), b, c.clone()]), &["m-00002-of-00003.gguf", "9 tensors", "say 5"]);
    let b = tensor(GgufWriter::new(), 3);
    fails(&files(&[a.clone(), b, c.clone()]), &["m-00002-of-00003.gguf", "1 parts"]);
    let part = |number| GgufWriter::new().u16("split.no", number).u16("split.count", 3).i32("split.tensors.count", 5);
    fails(&files(&[a.clone(), tensor(part(1), 2), c.clone()]), &["`t2`", "m-00001-of-00003.gguf", "m-00002-of-00003.gguf"]);
    fails(&files(&[a.clone(), part(1), c.clone()]), &["m-00001-of-00003.gguf", "4 tensors", "should have 5"]);
    let mut cut = files(&[a, good[1].clone(), c]);
    cut.0.get_mut(&name(2, 3)).unwrap().truncate(100);
    fails(&cut, &["m-00002-of-00003.gguf"]);

    let renamed = Memory([("m.gguf".to_owned(), good[0].bytes())].into());
    let error = run(open_gguf(&mut renamed.clone(), "m.gguf")).map(|opened| opened.gguf).unwrap_err();
    assert!(matches!(&error, OpenError::Split(SplitError::Name { count: 3, .. })), "{error}");
    let huge = GgufWriter::new().u16("split.no", 0).u16("split.count", 65_535).bytes();
    let huge = Memory([(name(1, 65_535), huge)].into());
    let error = run(open_gguf(&mut huge.clone(), &name(1, 65_535))).map(|opened| opened.gguf).unwrap_err();
    assert!(matches!(&error, OpenError::Split(SplitError::TooMany { .. })), "{error}");
}

#[test]
fn names_of_parts() {
    let parsed = PartName::parse("a-00001-of-x-00002-of-00010.gguf").unwrap();
    assert_eq!((parsed.stem, parsed.number, parsed.count), ("a-00001-of-x", 2, 10));
    assert_eq!(parsed.sibling(10), "a-00001-of-x-00010-of-00010.gguf");
    for name in [
        "a.gguf",
        "a-00000-of-00002.gguf",
        "a-00003-of-00002.gguf",
        "a-1-of-2.gguf",
        "a-00001-of-00002",
        "-of-.gguf",
        "a-+0001-of-00002.gguf",
    ] {
        assert_eq!(PartName::parse(name), None, "{name}");
    }
}

#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
#[test]
fn parts_on_a_web_server_are_found_by_their_address() {
    use crate::weights::known::testserver::{Reply, TestServer};
    let files = files(&parts());
    let server = TestServer::start(move |_, request| {
        let name = request.path.strip_prefix("/m/").and_then(|path| path.strip_suffix("?download=true"));
        match name.and_then(|name| files.0.get(name)) {
            Some(bytes) => Reply::part(request, bytes, "\"a\""),
            None => Reply::status("404 Not Found"),
        }
    });
    let (address, file) = Address::of(&server.url("/m/m-00002-of-00003.gguf?download=true"));
    let mut opened = pollster::block_on(open_gguf(&mut Site::new(address.clone()), &file.unwrap())).unwrap();
    for (tensor, value) in opened.gguf.tensors.clone().iter().zip(1..) {
        let read = pollster::block_on(opened.source.read(tensor.offset, 80)).map(Chunk::to_vec);
        assert_eq!(read, Ok(vec![value; 80]));
    }
    let absent = pollster::block_on(open_gguf(&mut Site::new(address), "n-00002-of-00003.gguf"));
    assert!(matches!(absent, Err(OpenError::Source(SourceError::Open { .. }))));
}
