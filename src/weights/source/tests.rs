//! Sources against good and bad files and servers.

use super::*;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Runs a future that never waits for anything but blocking calls.
fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

fn bytes(source: &mut impl Source, offset: u64, len: usize) -> Result<Vec<u8>, SourceError> {
    run(source.read(offset, len)).map(|chunk| {
        assert_eq!(chunk.len(), len);
        chunk.to_vec()
    })
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[test]
fn memory() {
    let file = content(100);
    let mut source = MemorySource::new("m", file.clone());
    assert_eq!((source.name(), source.len()), ("m", Some(100)));
    assert_eq!(bytes(&mut source, 10, 90).unwrap(), file[10..]);
    assert!(bytes(&mut source, 100, 0).unwrap().is_empty());
    for (offset, len) in [(10, 91), (101, 0), (u64::MAX, 1)] {
        assert!(matches!(bytes(&mut source, offset, len), Err(SourceError::Truncated { len: 100, .. })));
    }
}

#[test]
fn a_prefix_is_not_read_again() {
    let file = content(100);
    let mut source = MemorySource::new("m", file.clone());
    let mut prefix = file[..40].to_vec();
    prefix[7] ^= 0xFF;
    let mut source = Prefixed::new(&mut source, prefix.clone());
    assert_eq!(bytes(&mut source, 0, 40).unwrap(), prefix);
    assert_eq!(bytes(&mut source, 30, 20).unwrap(), file[30..50]);
    assert_eq!(bytes(&mut source, 40, 60).unwrap(), file[40..]);
    assert!(bytes(&mut source, 30, 71).is_err());
}

#[cfg(not(target_arch = "wasm32"))]
#[test]
fn file() {
    let folder = std::env::temp_dir().join(format!("kinglet-source-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.gguf");
    let content = content(1000);
    std::fs::write(&path, &content).unwrap();
    let mut source = FileSource::open(&path).unwrap();
    assert_eq!((source.name(), source.len()), ("model.gguf", Some(1000)));
    for (offset, len) in [(0, 10), (10, 20), (500, 500), (3, 4), (1000, 0)] {
        let read = bytes(&mut source, offset, len).unwrap();
        assert_eq!(read, content[offset as usize..][..len]);
    }
    assert!(matches!(bytes(&mut source, 990, 11), Err(SourceError::Truncated { offset: 990, len: 1000, .. })));
    let shrunk = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    shrunk.set_len(100).unwrap();
    assert!(matches!(bytes(&mut source, 50, 100), Err(SourceError::Truncated { offset: 50, len: 100, .. })));
    assert_eq!(bytes(&mut source, 50, 50).unwrap(), content[50..100]);
    assert!(matches!(FileSource::open(&folder), Err(SourceError::Open { .. })));
    let absent = FileSource::open(folder.join("absent")).unwrap_err();
    assert!(absent.to_string().contains("absent"), "{absent}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
mod http {
    use super::*;
    use crate::weights::known::http::Retry;
    use crate::weights::known::testserver::{Reply, Request, TestServer};
    use std::time::Duration;

    const QUICK: Retry = Retry { attempts: 4, wait: Duration::from_millis(1), progress: 1 << 20, silence: Duration::from_secs(5) };

    fn open(server: &TestServer) -> Result<HttpSource, SourceError> {
        HttpSource::open_with(&server.url("/models/m.gguf?download=true"), QUICK)
    }

    fn serve(answer: impl Fn(usize, &Request, &[u8]) -> Reply + Send + Sync + 'static) -> (TestServer, Vec<u8>) {
        let file = content(2_000_000);
        let copy = file.clone();
        let server = TestServer::start(move |number, request| answer(number, request, &copy));
        (server, file)
    }

    #[test]
    fn ascending_reads_ride_one_stream_and_jumps_open_another() {
        let (server, file) = serve(|_, request, file| Reply::part(request, file, "\"a\""));
        let mut source = open(&server).unwrap();
        assert_eq!((source.name(), source.len()), ("m.gguf", Some(2_000_000)));
        for offset in (0..1_000_000).step_by(100_000) {
            // A small gap, as between two tensors, is read over.
            let read = bytes(&mut source, offset, 99_990).unwrap();
            assert_eq!(read, file[offset as usize..][..99_990]);
        }
        assert_eq!(server.requests().len(), 1);
        assert_eq!(bytes(&mut source, 1_900_000, 100_000).unwrap(), file[1_900_000..]);
        assert_eq!(bytes(&mut source, 5, 10).unwrap(), file[5..15]);
        let requests = server.requests();
        assert_eq!(requests.len(), 3);
        assert_eq!(requests[1].start(), Some(1_900_000));
        assert_eq!(requests[1].header("if-range"), Some("\"a\""));
        assert!(matches!(bytes(&mut source, 1_999_999, 2), Err(SourceError::Truncated { offset: 1_999_999, len: 2_000_000, .. })));
    }

    #[test]
    fn a_dropped_connection_goes_on_at_the_next_byte() {
        let (server, file) = serve(|number, request, file| {
            let reply = Reply::part(request, file, "\"a\"");
            match number {
                0 => reply.cut(700_000),
                1 => Reply::status("503 Service Unavailable"),
                2 => reply.cut(0),
                _ => reply,
            }
        });
        let mut source = open(&server).unwrap();
        assert_eq!(bytes(&mut source, 0, 2_000_000).unwrap(), file);
        let requests = server.requests();
        assert_eq!(requests.len(), 4);
        assert_eq!(requests[3].start(), Some(700_000));
    }

    #[test]
    fn a_server_that_always_drops_is_given_up() {
        let (server, _) = serve(|_, request, file| Reply::part(request, file, "\"a\"").cut(10));
        let mut source = open(&server).unwrap();
        let error = bytes(&mut source, 0, 1000).unwrap_err();
        assert!(matches!(error, SourceError::Failed { offset: 40, .. }), "{error}");
        assert_eq!(server.requests().len(), 4);
    }

    #[test]
    fn another_file_is_never_mixed_in() {
        for length in [2_000_000, 1_999_999] {
            let (server, _) = serve(move |number, request, file| match number {
                0 => Reply::part(request, file, "\"a\"").cut(1000),
                _ => Reply::part(request, &file[..length], "\"b\""),
            });
            let mut source = open(&server).unwrap();
            let error = bytes(&mut source, 0, 5000).unwrap_err();
            assert!(matches!(error, SourceError::Changed { .. }), "{error}");
        }
        // A server that knows nothing of If-Range shows it by its ETag, or by the length alone.
        for (etag, length) in [("\"b\"", 2_000_000), ("\"a\"", 1_500_000)] {
            let (server, _) = serve(move |number, request, file| {
                let mut request = request.clone();
                request.headers.retain(|(name, _)| name != "if-range");
                match number {
                    0 => Reply::part(&request, file, "\"a\"").cut(1000),
                    _ => Reply::part(&request, &file[..length], etag),
                }
            });
            let mut source = open(&server).unwrap();
            let error = bytes(&mut source, 0, 5000).unwrap_err();
            assert!(matches!(error, SourceError::Changed { .. }), "{error}");
        }
    }

    #[test]
    fn without_ranges_only_ascending_reads_from_the_start() {
        let (server, file) = serve(|_, _, file| Reply::whole(file, "\"a\""));
        let mut source = open(&server).unwrap();
        assert_eq!(source.len(), Some(2_000_000));
        assert_eq!(bytes(&mut source, 0, 1000).unwrap(), file[..1000]);
        assert_eq!(bytes(&mut source, 900_000, 1000).unwrap(), file[900_000..901_000]);
        assert_eq!(server.requests().len(), 1);
        assert!(matches!(bytes(&mut source, 10, 10), Err(SourceError::RangeUnsupported { offset: 10, .. })));
        // Going back to the very start is the one jump that every server can make.
        assert_eq!(bytes(&mut source, 0, 1000).unwrap(), file[..1000]);
    }

    #[test]
    fn without_ranges_a_dropped_connection_is_an_error() {
        let (server, _) = serve(|_, _, file| Reply::whole(file, "\"a\"").cut(500));
        let mut source = open(&server).unwrap();
        let error = bytes(&mut source, 0, 1000).unwrap_err();
        assert!(matches!(error, SourceError::RangeUnsupported { offset: 500, .. }), "{error}");
    }

    #[test]
    fn without_a_length_the_end_is_found_by_reading() {
        let (server, file) = serve(|_, _, file| Reply { head: "HTTP/1.1 200 OK".into(), body: file[..3000].to_vec() });
        let mut source = open(&server).unwrap();
        assert_eq!(source.len(), None);
        assert_eq!(bytes(&mut source, 0, 2000).unwrap(), file[..2000]);
        assert!(matches!(bytes(&mut source, 2000, usize::MAX / 4), Err(SourceError::Truncated { len: 3000, .. })));
    }

    #[test]
    fn refusals_and_nonsense() {
        let (server, _) = serve(|_, _, _| Reply::status("404 Not Found"));
        let error = open(&server).unwrap_err();
        assert!(matches!(error, SourceError::Open { .. }), "{error}");
        assert!(error.to_string().contains("404"), "{error}");
        assert_eq!(server.requests().len(), 1);

        for range in ["", "\r\nContent-Range: bytes 5-9/10", "\r\nContent-Range: bytes 0-20/10"] {
            let head = format!("HTTP/1.1 206 Partial Content\r\nContent-Length: 10{range}");
            let (server, _) = serve(move |_, _, file| Reply { head: head.clone(), body: file[..10].to_vec() });
            let error = open(&server).unwrap_err();
            assert!(matches!(error, SourceError::Failed { .. }), "{error}");
        }
        assert!(HttpSource::open_with("http://", QUICK).is_err());
        assert!(HttpSource::open_with("nonsense", QUICK).is_err());
    }

    #[test]
    fn an_empty_file_is_empty() {
        let server = TestServer::start(|_, request| Reply::part(request, &[], "\"a\""));
        let mut source = open(&server).unwrap();
        assert_eq!(source.len(), Some(0));
        assert!(bytes(&mut source, 0, 0).unwrap().is_empty());
        assert!(matches!(bytes(&mut source, 0, 1), Err(SourceError::Truncated { len: 0, .. })));
    }

    #[test]
    fn a_header_is_read_once_even_without_ranges() {
        use crate::weights::gguf::tests_support::kitchen_sink;
        let tokens: Vec<String> = (0..100_000).map(|i| format!("token{i}")).collect();
        let file = kitchen_sink(3).strings("tokens", &tokens).bytes();
        let copy = file.clone();
        let server = TestServer::start(move |_, _| Reply::whole(&copy, "\"a\""));
        let mut source = open(&server).unwrap();
        let (gguf, prefix) = run(read_header(&mut source)).unwrap();
        let mut source = Prefixed::new(&mut source, prefix);
        for tensor in &gguf.tensors {
            let read = bytes(&mut source, tensor.offset, tensor.bytes as usize).unwrap();
            assert_eq!(read, file[tensor.offset as usize..][..tensor.bytes as usize]);
        }
        assert_eq!(server.requests().len(), 1);
    }
}
