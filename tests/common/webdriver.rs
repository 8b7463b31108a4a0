//! A real Chromium, driven through its driver's WebDriver protocol (W3C), and a plain static server for it to load from.
//! Five commands of the protocol are all that is needed, so they are spoken directly.
#![allow(dead_code, reason = "every test uses its own part")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the end-to-end tests need, from the environment that `cargo xtask test` sets; without it they are skipped with a word.
pub struct Setup {
    pub chromium: PathBuf,
    pub driver: PathBuf,
    pub dist: PathBuf,
    pub npm: PathBuf,
}

impl Setup {
    pub fn from_env() -> Option<Self> {
        let get = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let setup = (|| {
            Some(Self {
                chromium: get("KINGLET_CHROMIUM")?,
                driver: get("CHROMEDRIVER")?,
                dist: get("KINGLET_DIST")?,
                npm: get("KINGLET_NPM")?,
            })
        })();
        if setup.is_none() {
            eprintln!("skipped: `cargo xtask test --only e2e` builds the page and sets what this test needs");
        }
        setup
    }
}

/// A browser session; the browser ends with it.
pub struct Browser {
    driver: Child,
    session: String,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = ureq::delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    pub fn open(setup: &Setup) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let driver = Command::new(&setup.driver)
            .arg(format!("--port={port}"))
            // Far from UTC, so that a time that should be the user's shows whether it is.
            .env("TZ", "Asia/Tokyo")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the driver starts");
        let mut browser = Self { driver, session: format!("http://127.0.0.1:{port}/session") };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the driver does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        let config: Value = serde_json::from_str(include_str!("../../webdriver.json")).unwrap();
        let mut options = config["goog:chromeOptions"].clone();
        options["binary"] = setup.chromium.to_string_lossy().into();
        options["args"].as_array_mut().unwrap().push("--window-size=1200,900".into());
        let capabilities =
            json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options, "timeouts": { "script": 60000 } } } });
        let reply = post(&browser.session, &capabilities);
        let id = reply["sessionId"].as_str().expect("a session").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    pub fn go(&self, url: &str) {
        post(&format!("{}/url", self.session), &json!({ "url": url }));
    }

    /// The value of a script's `return`.
    pub fn run(&self, script: &str) -> Value {
        post(&format!("{}/execute/sync", self.session), &json!({ "script": script, "args": [] }))
    }

    /// Runs a script until what it returns is true-ish, and returns that.
    pub fn wait(&self, what: &str, limit: Duration, script: &str) -> Value {
        wait(what, limit, script, |script| self.run(script))
    }

    /// A screenshot into the build folder, as the test's output.
    pub fn screenshot(&self, name: &str) -> PathBuf {
        let reply = ureq::get(format!("{}/screenshot", self.session)).call().unwrap().body_mut().read_to_string().unwrap();
        let reply: Value = serde_json::from_str(&reply).unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, base64(reply["value"].as_str().unwrap())).unwrap();
        path
    }
}

fn post(url: &str, body: &Value) -> Value {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut reply = agent.post(url).content_type("application/json").send(body.to_string()).expect("the driver answers");
    let text = reply.body_mut().with_config().limit(64 << 20).read_to_string().unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    assert!(value["value"]["error"].is_null(), "{url}: {}", value["value"]);
    value["value"].take()
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> = text.bytes().filter(|c| *c != b'=').map(|c| u32::from(digit(c))).collect();
    digits
        .chunks(4)
        .flat_map(|four| {
            let word = four.iter().fold(0, |word, digit| word << 6 | digit) << (6 * (4 - four.len()));
            word.to_be_bytes()[1..four.len()].to_vec()
        })
        .collect()
}

/// Runs a script by `run` until what it returns is true-ish, and returns that.
pub fn wait(what: &str, limit: Duration, script: &str, mut run: impl FnMut(&str) -> Value) -> Value {
    let deadline = Instant::now() + limit;
    loop {
        let value = run(script);
        if !matches!(&value, Value::Null | Value::Bool(false)) && value != json!("") {
            return value;
        }
        if Instant::now() >= deadline {
            let page = run("return document.body.innerText");
            panic!("{what}: not within {limit:?}; the page says {page}");
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Serves the built package, its example and `model`'s folder.
pub fn serve_package(setup: &Setup, model: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    serve(&[
        ("/models/", model.parent().unwrap().to_path_buf()),
        ("/web/npm/dist/", setup.npm.clone()),
        ("/web/", root.join("web")),
        ("/npm/dist/", setup.npm.clone()),
    ])
}

/// Serves folders under paths on a loopback port: no ranges, no special headers, as the plainest server would.
pub fn serve(folders: &[(&'static str, PathBuf)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let folders: Vec<_> = folders.to_vec();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folders = folders.clone();
            std::thread::spawn(move || answer(stream, &folders));
        }
    });
    address
}

fn answer(mut stream: TcpStream, folders: &[(&'static str, PathBuf)]) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut header = String::from(" ");
    while header.trim() != "" || header == " " {
        header.clear();
        reader.read_line(&mut header).ok()?;
    }
    let path = line.split(' ').nth(1)?.split(['?', '#']).next()?;
    let file = folders.iter().find_map(|(prefix, folder)| {
        let rest = path.strip_prefix(prefix)?;
        let file = if rest.is_empty() || rest.ends_with('/') { folder.join(rest).join("index.html") } else { folder.join(rest) };
        file.is_file().then_some(file)
    });
    let Some(file) = file else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok();
    };
    let kind = match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html",
        Some("js" | "mjs") => "text/javascript",
        Some("css") => "text/css",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    };
    let mut content = std::fs::File::open(&file).ok()?;
    let length = content.metadata().ok()?.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").ok()?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = content.read(&mut buffer).ok()?;
        if count == 0 {
            return Some(());
        }
        stream.write_all(&buffer[..count]).ok()?;
    }
}
