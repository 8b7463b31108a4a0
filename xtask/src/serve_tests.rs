//! The static server, asked over real connections.

use crate::serve::{Site, bind, run};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

/// A site in a folder of its own, being served.
struct Fixture {
    folder: PathBuf,
    address: std::net::SocketAddr,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("kinglet-serve-{}-{name}", std::process::id()));
        let (pages, models) = (folder.join("dist"), folder.join("models"));
        std::fs::create_dir_all(pages.join("sub")).expect("a folder");
        std::fs::create_dir_all(&models).expect("a folder");
        std::fs::write(pages.join("index.html"), "<p>home</p>").expect("a file");
        std::fs::write(pages.join("a.wasm"), b"\0asm").expect("a file");
        std::fs::write(pages.join("sub/index.html"), "sub").expect("a file");
        std::fs::write(folder.join("secret"), "secret").expect("a file");
        std::fs::write(models.join("m 1.gguf"), "0123456789").expect("a file");
        std::fs::write(models.join(".m2.gguf.part"), "01").expect("a file");
        std::fs::write(models.join("m.checked"), "x").expect("a file");
        let listener = bind(0).expect("a free port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || run(listener, Site { pages, models }));
        Self { folder, address }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("served");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).expect("answered");
        String::from_utf8_lossy(&reply).into_owned()
    }

    fn get(&self, path: &str, headers: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn header<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    reply.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn body(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn pages_have_their_types() {
    let site = Fixture::new("types");
    let home = site.get("/?x=1", "");
    assert!(home.starts_with("HTTP/1.1 200 OK"), "{home}");
    assert_eq!(header(&home, "Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(body(&home), "<p>home</p>");
    let wasm = site.get("/a.wasm", "");
    assert_eq!(header(&wasm, "Content-Type"), Some("application/wasm"));
    assert_eq!(header(&wasm, "Content-Length"), Some("4"));
    assert_eq!(body(&site.get("/sub/", "")), "sub");
}

#[test]
fn ranges_are_exact() {
    let site = Fixture::new("ranges");
    let path = "/models/m%201.gguf";
    for (range, expected, place) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=-99", "0123456789", "bytes 0-9/10"),
        ("bytes=5-99", "56789", "bytes 5-9/10"),
        ("bytes=0-0", "0", "bytes 0-0/10"),
    ] {
        let reply = site.get(path, &format!("Range: {range}\r\n"));
        assert!(reply.starts_with("HTTP/1.1 206"), "{range}: {reply}");
        assert_eq!(body(&reply), expected, "{range}");
        assert_eq!(header(&reply, "Content-Range"), Some(place));
        assert_eq!(header(&reply, "Accept-Ranges"), Some("bytes"));
    }
    for range in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
        let reply = site.get(path, &format!("Range: {range}\r\n"));
        assert!(reply.starts_with("HTTP/1.1 416"), "{range}: {reply}");
        assert_eq!(header(&reply, "Content-Range"), Some("bytes */10"));
    }
    for range in ["bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=x-y", "bytes=1-z"] {
        let reply = site.get(path, &format!("Range: {range}\r\n"));
        assert!(reply.starts_with("HTTP/1.1 200"), "{range}: {reply}");
        assert_eq!(body(&reply), "0123456789", "{range}");
    }
}

#[test]
fn a_changed_file_is_not_resumed_and_a_known_one_not_sent_again() {
    let site = Fixture::new("etag");
    let path = "/models/m%201.gguf";
    let tag = header(&site.get(path, ""), "ETag").expect("a tag").to_owned();
    let same = site.get(path, &format!("Range: bytes=1-1\r\nIf-Range: {tag}\r\n"));
    assert_eq!(body(&same), "1");
    let other = site.get(path, "Range: bytes=1-1\r\nIf-Range: \"old\"\r\n");
    assert!(other.starts_with("HTTP/1.1 200"), "{other}");
    let known = site.get(path, &format!("If-None-Match: \"x\", {tag}\r\n"));
    assert!(known.starts_with("HTTP/1.1 304"), "{known}");
    assert_eq!(body(&known), "");
}

#[test]
fn head_has_the_length_and_no_body() {
    let site = Fixture::new("head");
    let reply = site.ask("HEAD /models/m%201.gguf HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(header(&reply, "Content-Length"), Some("10"));
    assert_eq!(body(&reply), "");
}

#[test]
fn nothing_outside_is_served() {
    let site = Fixture::new("outside");
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/sub/..%2f..%2fsecret",
        "/..%5csecret",
        "/models/../secret",
        "/models/..%2fsecret",
        "/models/m.checked",
        "/models/.m2.gguf.part",
        "/models/",
        "/nothing",
        "//etc/passwd",
        "/%zz",
        "secret",
        "http://x/secret",
    ] {
        let reply = site.get(path, "");
        let refused = reply.starts_with("HTTP/1.1 400") || reply.starts_with("HTTP/1.1 404");
        assert!(refused && !reply.contains("secret\n"), "{path}: {reply}");
    }
    let reply = site.ask("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
    assert!(reply.starts_with("HTTP/1.1 405"), "{reply}");
}

#[cfg(unix)]
#[test]
fn a_link_does_not_lead_out() {
    let site = Fixture::new("link");
    std::os::unix::fs::symlink(site.folder.join("secret"), site.folder.join("dist/out")).expect("a link");
    assert!(site.get("/out", "").starts_with("HTTP/1.1 404"));
}

#[test]
fn the_models_are_listed() {
    let site = Fixture::new("list");
    let reply = site.get("/models/index.json", "");
    assert_eq!(header(&reply, "Content-Type"), Some("application/json"));
    assert_eq!(body(&reply), "[{\"name\":\"m 1.gguf\",\"url\":\"/models/m%201.gguf\",\"bytes\":10}]\n");
}

#[test]
fn one_connection_carries_many_requests_and_blocks_no_other() {
    let site = Fixture::new("keep");
    let mut first = TcpStream::connect(site.address).expect("served");
    // While this one says nothing, another is answered.
    assert!(site.get("/", "").contains("home"));
    first.write_all(b"GET /a.wasm HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n").expect("sent");
    let mut reply = String::new();
    first.read_to_string(&mut reply).expect("answered");
    assert_eq!(reply.matches("HTTP/1.1 200 OK").count(), 2);
}
