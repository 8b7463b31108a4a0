//! A web server on loopback that misbehaves as a test tells it to.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// All header lines, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(value)
    }

    /// The first byte that was asked for.
    pub fn start(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.split('-').next()?.parse().ok()
    }
}

/// What to send back. The connection is closed after it.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status line and headers, without the empty line.
    pub head: String,
    /// The body, whatever the headers say.
    pub body: Vec<u8>,
}

impl Reply {
    /// An error page.
    pub fn status(status: &str) -> Self {
        Self { head: format!("HTTP/1.1 {status}\r\nContent-Length: 0"), body: Vec::new() }
    }

    /// What a good server answers: the rest of the file from the asked byte, or all of it if `If-Range` says so.
    pub fn part(request: &Request, file: &[u8], etag: &str) -> Self {
        let same = request.header("if-range").is_none_or(|asked| asked == etag);
        let total = file.len();
        match request.start() {
            Some(start) if start >= total => Self {
                head: format!("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{total}\r\nContent-Length: 0"),
                body: Vec::new(),
            },
            Some(start) if same => Self {
                head: format!(
                    "HTTP/1.1 206 Partial Content\r\nETag: {etag}\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{total}",
                    total - start,
                    total - 1
                ),
                body: file[start..].to_vec(),
            },
            _ => Self::whole(file, etag),
        }
    }

    /// What a server without ranges answers.
    pub fn whole(file: &[u8], etag: &str) -> Self {
        Self { head: format!("HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: {}", file.len()), body: file.to_vec() }
    }

    /// The same reply, but the connection is closed after `sent` bytes of the body.
    pub fn cut(mut self, sent: usize) -> Self {
        self.body.truncate(sent);
        self
    }
}

/// A running server; it ends when dropped.
pub struct TestServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// `answer` is given the number of the request (from 0) and the request.
    pub fn start(answer: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let ending = Arc::new(AtomicBool::new(false));
        let (seen, end, answer) = (Arc::clone(&requests), Arc::clone(&ending), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                // Browsers open connections that they use later or never: none may hold up another.
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || converse(&stream, &seen, &*answer));
            }
        });
        Self { address, requests, ending, thread: Some(thread) }
    }

    /// A URL on this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic while locked").clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers the one request of a connection.
fn converse(mut stream: &TcpStream, seen: &Mutex<Vec<Request>>, answer: &impl Fn(usize, &Request) -> Reply) {
    let Some(request) = read_request(stream) else { return };
    let number = {
        let mut seen = seen.lock().expect("no panic while locked");
        seen.push(request.clone());
        seen.len() - 1
    };
    let reply = answer(number, &request);
    // A client that has had enough closes first.
    let _ = write!(stream, "{}\r\nConnection: close\r\n\r\n", reply.head);
    let _ = stream.write_all(&reply.body);
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Some(Request { path, headers })
}
