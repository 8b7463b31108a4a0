//! A small static server for this machine only: the built page at `/`, the cached models at `/models/`, with ranges.
//!
//! It uses the standard library alone, so that the end-to-end tests can include this file and serve the page themselves;
//! its own tests are therefore not in here but in serve_tests.rs.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Which folders are served.
#[derive(Debug, Clone)]
pub struct Site {
    /// Served at `/`.
    pub pages: PathBuf,
    /// The GGUF files in here are served at `/models/`, listed by `/models/index.json`.
    pub models: PathBuf,
}

/// A listener on the loopback address; port 0 takes any free one.
pub fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
        io::Error::new(error.kind(), format!("port {port} on this machine cannot be used ({error}); choose another with --port"))
    })
}

/// Answers for ever, each connection on its own thread.
pub fn run(listener: TcpListener, site: Site) -> io::Result<()> {
    let site = Arc::new(site);
    for stream in listener.incoming() {
        // A connection that broke before it was accepted concerns nobody else.
        let Ok(stream) = stream else { continue };
        let site = Arc::clone(&site);
        std::thread::spawn(move || {
            // The browser going away in the middle of a download is its right.
            let _ = converse(stream, &site);
        });
    }
    Ok(())
}

fn converse(stream: TcpStream, site: &Site) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_nodelay(true)?;
    let mut to = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    while let Some(request) = Request::read(&mut from)? {
        let close = request.close;
        answer(&request, site).send(&mut to, request.head, close)?;
        if close {
            break;
        }
    }
    Ok(())
}

/// What is needed of a request.
#[derive(Debug, Default)]
struct Request {
    path: String,
    head: bool,
    allowed: bool,
    close: bool,
    range: Option<String>,
    if_range: Option<String>,
    if_none_match: Option<String>,
}

/// More than any browser sends.
const LONGEST_HEAD: u64 = 64 * 1024;

impl Request {
    /// The next request of the connection; None at its end.
    fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = from.take(LONGEST_HEAD);
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let mut request = Self {
            path: target.split(['?', '#']).next().unwrap_or("").to_owned(),
            head: method == "HEAD",
            allowed: matches!(method, "GET" | "HEAD"),
            close: words.next() != Some("HTTP/1.1"),
            ..Self::default()
        };
        loop {
            line.clear();
            if head.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            let value = value.trim().to_owned();
            match name.to_ascii_lowercase().as_str() {
                "range" => request.range = Some(value),
                "if-range" => request.if_range = Some(value),
                "if-none-match" => request.if_none_match = Some(value),
                "connection" => request.close |= value.eq_ignore_ascii_case("close"),
                // A body is never read, so nothing after it could be understood.
                "content-length" => request.close |= value != "0",
                "transfer-encoding" => request.close = true,
                _ => {}
            }
        }
        request.close |= !request.allowed;
        Ok(Some(request))
    }
}

struct Response {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

enum Body {
    Text(String),
    Part { file: File, start: u64, len: u64 },
}

impl Response {
    fn error(status: &'static str) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", "text/plain; charset=utf-8".to_owned())],
            body: Body::Text(format!("{status}\n")),
        }
    }

    fn send(self, to: &mut impl Write, head_only: bool, close: bool) -> io::Result<()> {
        let len = match &self.body {
            Body::Text(text) => text.len() as u64,
            Body::Part { len, .. } => *len,
        };
        let mut head = format!("HTTP/1.1 {}\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        // 304 has no body by definition, and a length would be read as the file's.
        if !self.status.starts_with("304") {
            head.push_str(&format!("Content-Length: {len}\r\n"));
        }
        if close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        to.write_all(head.as_bytes())?;
        if head_only {
            return to.flush();
        }
        match self.body {
            Body::Text(text) => to.write_all(text.as_bytes())?,
            Body::Part { mut file, start, len } => {
                file.seek(SeekFrom::Start(start))?;
                let sent = io::copy(&mut file.take(len), to)?;
                if sent < len {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        to.flush()
    }
}

fn answer(request: &Request, site: &Site) -> Response {
    if !request.allowed {
        let mut refusal = Response::error("405 Method Not Allowed");
        refusal.headers.push(("Allow", "GET, HEAD".to_owned()));
        return refusal;
    }
    let Some(parts) = path_parts(&request.path) else {
        return Response::error("400 Bad Request");
    };
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let file = match parts.as_slice() {
        ["models", "index.json"] => {
            return Response {
                status: "200 OK",
                headers: vec![("Content-Type", "application/json".to_owned()), ("Cache-Control", "no-cache".to_owned())],
                body: Body::Text(model_list(&site.models)),
            };
        }
        ["models", name] if name.ends_with(".gguf") => site.models.join(name),
        ["models", ..] => return Response::error("404 Not Found"),
        _ => {
            let mut file = site.pages.join(parts.iter().collect::<PathBuf>());
            if file.is_dir() {
                file.push("index.html");
            }
            // A link inside the folder may not lead out of it.
            let inside = match (file.canonicalize(), site.pages.canonicalize()) {
                (Ok(file), Ok(pages)) => file.starts_with(pages),
                _ => false,
            };
            if !inside {
                return Response::error("404 Not Found");
            }
            file
        }
    };
    serve_file(&file, request).unwrap_or_else(|_| Response::error("404 Not Found"))
}

fn serve_file(path: &Path, request: &Request) -> io::Result<Response> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let total = meta.len();
    let changed = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let etag = format!("\"{total:x}-{:x}\"", changed.as_nanos());
    let mut headers = vec![
        ("Content-Type", mime(path).to_owned()),
        ("ETag", etag.clone()),
        ("Accept-Ranges", "bytes".to_owned()),
        // The browser keeps the file and asks whether it is still the same.
        ("Cache-Control", "no-cache".to_owned()),
    ];
    let known = request.if_none_match.as_deref().is_some_and(|tags| tags == "*" || tags.split(',').any(|tag| tag.trim() == etag));
    if known {
        return Ok(Response { status: "304 Not Modified", headers, body: Body::Text(String::new()) });
    }
    let range = match &request.range {
        Some(range) if request.if_range.as_ref().is_none_or(|tag| *tag == etag) => parse_range(range, total),
        _ => Range::Whole,
    };
    Ok(match range {
        Range::Whole => Response { status: "200 OK", headers, body: Body::Part { file, start: 0, len: total } },
        Range::Part { start, end } => {
            headers.push(("Content-Range", format!("bytes {start}-{}/{total}", end - 1)));
            Response { status: "206 Partial Content", headers, body: Body::Part { file, start, len: end - start } }
        }
        Range::Impossible => {
            let mut refusal = Response::error("416 Range Not Satisfiable");
            refusal.headers.push(("Content-Range", format!("bytes */{total}")));
            refusal
        }
    })
}

#[derive(Debug, PartialEq)]
enum Range {
    Whole,
    /// From `start` up to, not including, `end`.
    Part {
        start: u64,
        end: u64,
    },
    Impossible,
}

/// One byte range (RFC 9110, section 14). Several ranges, or what is none, get the whole file, as the standard allows.
fn parse_range(header: &str, total: u64) -> Range {
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Range::Whole;
    };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => Range::Whole,
        (Ok(first), _) if first >= total && (last.is_empty() || last.parse::<u64>().is_ok()) => Range::Impossible,
        (Ok(start), Ok(last)) => Range::Part { start, end: last.saturating_add(1).min(total) },
        (Ok(start), Err(_)) if last.is_empty() => Range::Part { start, end: total },
        (Err(_), Ok(suffix)) if first.is_empty() => {
            if suffix == 0 || total == 0 {
                Range::Impossible
            } else {
                Range::Part { start: total.saturating_sub(suffix), end: total }
            }
        }
        _ => Range::Whole,
    }
}

/// The path's decoded parts; None for anything that could leave the folder or is no path.
fn path_parts(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    let mut parts = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let part = percent_decode(part)?;
        let hostile = part.starts_with('.') || part.contains(['/', '\\', '\0', ':']);
        if hostile {
            return None;
        }
        parts.push(part);
    }
    Some(parts)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn mime(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()).unwrap_or("") {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "wasm" => "application/wasm",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" | "md" | "ts" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// `[{"name": …, "url": …, "bytes": …}, …]` for every GGUF file of the folder.
fn model_list(folder: &Path) -> String {
    let mut models: Vec<(String, u64)> = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().collect())
        .unwrap_or_else(|_| Vec::new())
        .iter()
        .filter_map(|entry: &std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            // What is still being fetched has a name with a dot in front.
            let whole = name.ends_with(".gguf") && path_parts(&format!("/{name}")).is_some();
            let bytes = entry.path().metadata().ok()?.len();
            whole.then_some((name, bytes))
        })
        .collect();
    models.sort();
    let items: Vec<String> = models
        .iter()
        .map(|(name, bytes)| {
            let text = json_string(name);
            let url = json_string(&format!("/models/{}", percent_encode(name)));
            format!("{{\"name\":{text},\"url\":{url},\"bytes\":{bytes}}}")
        })
        .collect();
    format!("[{}]\n", items.join(","))
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

fn json_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
