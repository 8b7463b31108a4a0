//! Replays `tests/data/gguf`: the fuzzer's seeds (`seed-*`) and every file that ever made it fail. Also reads the
//! real files that are in the user's cache.
#![cfg(feature = "engine")]

#[path = "common/ggufcheck.rs"]
mod ggufcheck;
#[path = "common/ggufwriter.rs"]
mod ggufwriter;
use kinglet::weights::gguf;

use gguf::{FIRST_PREFIX_BYTES, Gguf, GgufError, Parse};
use ggufwriter::{GgufWriter, array, kind, kitchen_sink};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gguf")
}

/// Small files from which a fuzzer gets far, with what they are.
fn seeds() -> Vec<(&'static str, Vec<u8>, bool)> {
    let huge = array(kind::STRING, 1 << 63, &[]);
    let mut overlapping = GgufWriter::new().tensor("a", &[16], 0, vec![0; 64]).tensor("b", &[8], 0, vec![0; 32]);
    overlapping.tensors[1].offset = Some(32);
    vec![
        ("seed-all-types-v2.gguf", kitchen_sink(2).bytes(), true),
        ("seed-all-types-v3.gguf", kitchen_sink(3).bytes(), true),
        ("seed-empty.gguf", GgufWriter::new().bytes(), true),
        ("seed-huge-array.gguf", GgufWriter::new().raw("k", kind::ARRAY, &huge).bytes(), false),
        ("seed-overlapping.gguf", overlapping.bytes(), false),
    ]
}

#[test]
fn every_file_of_the_corpus() {
    let mut count = 0;
    for entry in fs::read_dir(folder()).expect("tests/data/gguf") {
        let path = entry.expect("an entry").path();
        let bytes = fs::read(&path).expect("a file");
        assert!(bytes.len() < 100_000, "{} is too large for git", path.display());
        ggufcheck::check(&bytes);
        count += 1;
    }
    assert!(count >= seeds().len());
}

/// `KINGLET_WRITE_SEEDS=1 cargo test --test gguf_corpus` writes the seeds anew.
#[test]
fn seeds_are_what_the_writer_writes() {
    for (name, bytes, good) in seeds() {
        let path = folder().join(name);
        if std::env::var_os("KINGLET_WRITE_SEEDS").is_some() {
            fs::write(&path, &bytes).expect("a writable checkout");
        }
        assert_eq!(fs::read(&path).expect(name), bytes, "{name}");
        let outcome = Gguf::parse(&bytes, Some(bytes.len() as u64));
        assert_eq!(outcome.is_ok(), good, "{name}: {outcome:?}");
    }
}

/// The header of a real file, by growing prefixes.
fn real(path: &Path) -> Result<Gguf, GgufError> {
    let mut file = File::open(path).expect("a readable file");
    let file_len = file.metadata().expect("its length").len();
    let mut prefix = vec![0; FIRST_PREFIX_BYTES.min(file_len) as usize];
    file.read_exact(&mut prefix).expect("its bytes");
    loop {
        match Gguf::parse(&prefix, Some(file_len))? {
            Parse::Done(gguf) => return Ok(gguf),
            Parse::NeedMore { at_least } => {
                let have = prefix.len();
                prefix.resize(at_least as usize, 0);
                file.read_exact(&mut prefix[have..]).expect("its bytes");
            }
        }
    }
}

/// Where a build tool has put real files; nothing is tested where there are none.
fn cached(sub: &str) -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = variable("KINGLET_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("kinglet")))
        .or_else(|| Some(variable("HOME")?.join(".cache/kinglet")));
    let Some(entries) = cache.and_then(|cache| fs::read_dir(cache.join(sub)).ok()) else {
        return Vec::new();
    };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "gguf")).collect()
}

#[test]
fn real_files_in_the_cache() {
    for path in cached("vocab").iter().chain(&cached("models")) {
        let gguf = real(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let m = &gguf.metadata;
        let architecture = m.string("general.architecture").unwrap();
        assert!(architecture.is_some(), "{}", path.display());
        assert!(m.strings("tokenizer.ggml.tokens").unwrap().is_some_and(|t| t.len() > 1000));
    }
}

#[test]
fn the_default_model_is_read_as_it_is() {
    let name = "SmolLM2-135M-Instruct.Q4_1.gguf";
    let Some(path) = cached("models").into_iter().find(|path| path.ends_with(name)) else {
        eprintln!("skipped: {name} is not in the cache");
        return;
    };
    let gguf = real(&path).unwrap();
    let m = &gguf.metadata;
    assert_eq!((gguf.version, gguf.alignment, gguf.tensors.len()), (3, 32, 272));
    assert_eq!(m.u32("llama.block_count").unwrap(), Some(30));
    assert_eq!(m.u32("llama.attention.head_count_kv").unwrap(), Some(3));
    assert_eq!(m.f32("llama.rope.freq_base").unwrap(), Some(100_000.0));
    assert_eq!(m.strings("tokenizer.ggml.merges").unwrap().unwrap().len(), 48_900);
    let count = |kind| gguf.tensors.iter().filter(|t| t.kind.name() == kind).count();
    assert_eq!((count("Q4_1"), count("Q8_0"), count("F32")), (210, 1, 61));
    let embedding = gguf.tensor("token_embd.weight").unwrap();
    assert_eq!((embedding.columns(), embedding.rows()), (576, 49_152));
    let end = gguf.tensors.iter().map(|t| t.offset + t.bytes).max().unwrap();
    assert_eq!(end.next_multiple_of(gguf.alignment), 98_362_432);
}
