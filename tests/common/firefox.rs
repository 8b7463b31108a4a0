//! A real Firefox, driven through Marionette, the remote protocol that every Firefox speaks by itself: JSON messages over TCP, each with
//! its length before it. No driver program is needed.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The first Firefox with WebGPU.
const OLDEST: u32 = 141;

/// WebGPU where Firefox does not have it on by itself (Linux), also on a software GPU; and nothing that calls home.
const PREFERENCES: &str = r#"
user_pref("dom.webgpu.enabled", true);
user_pref("gfx.webgpu.ignore-blocklist", true);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("app.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
"#;

/// A browser with a profile of its own; both end with it.
pub struct Firefox {
    process: Child,
    profile: PathBuf,
    stream: TcpStream,
    count: u64,
}

impl Drop for Firefox {
    fn drop(&mut self) {
        let _ = self.send("Marionette:Quit", json!({ "flags": ["eForceQuit"] }));
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

impl Firefox {
    /// Starts Firefox; `None` with a word on stderr where there is none, or too old a one: the test is skipped.
    pub fn open() -> Option<Self> {
        let Some(program) = std::env::var_os("KINGLET_FIREFOX") else {
            eprintln!("skipped: no Firefox here (`cargo xtask test --only e2e` looks for it)");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("firefox-{port}"));
        std::fs::create_dir_all(&profile).unwrap();
        std::fs::write(profile.join("user.js"), format!("{PREFERENCES}user_pref(\"marionette.port\", {port});\n")).unwrap();
        let mut process = Command::new(program)
            .args(["--headless", "--marionette", "--no-remote", "--profile"])
            .arg(&profile)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Firefox starts");
        let deadline = Instant::now() + Duration::from_secs(120);
        let stream = loop {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                break stream;
            }
            if Instant::now() >= deadline {
                let _ = process.kill();
                panic!("Firefox does not answer");
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let mut firefox = Self { process, profile, stream, count: 0 };
        firefox.receive().expect("a greeting");
        let session = firefox.command("WebDriver:NewSession", json!({}));
        let version = session["capabilities"]["browserVersion"].as_str().unwrap_or_default();
        eprintln!("Firefox {version}");
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < OLDEST) {
            eprintln!("skipped: WebGPU begins with Firefox {OLDEST}");
            return None;
        }
        Some(firefox)
    }

    pub fn go(&mut self, url: &str) {
        self.command("WebDriver:Navigate", json!({ "url": url }));
    }

    /// The value of a script's `return`.
    pub fn run(&mut self, script: &str) -> Value {
        // Without a sandbox the script is one of the page's own and can leave things in its `window`.
        self.command("WebDriver:ExecuteScript", json!({ "script": script, "args": [], "sandbox": null }))["value"].take()
    }

    /// Runs a script until what it returns is true-ish, and returns that.
    pub fn wait(&mut self, what: &str, limit: Duration, script: &str) -> Value {
        crate::webdriver::wait(what, limit, script, |script| self.run(script))
    }

    fn command(&mut self, name: &str, parameters: Value) -> Value {
        self.send(name, parameters).expect("Firefox listens");
        let mut reply = self.receive().expect("Firefox answers");
        assert!(reply[2].is_null(), "{name}: {}", reply[2]);
        reply[3].take()
    }

    /// A command is `[0, number, name, parameters]`, its reply `[1, number, error, result]`.
    fn send(&mut self, name: &str, parameters: Value) -> std::io::Result<()> {
        self.count += 1;
        let message = json!([0, self.count, name, parameters]).to_string();
        write!(self.stream, "{}:{message}", message.len())
    }

    fn receive(&mut self) -> std::io::Result<Value> {
        let mut length = 0;
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            match byte[0] {
                b':' => break,
                digit => length = 10 * length + usize::from(digit.wrapping_sub(b'0')),
            }
        }
        let mut message = vec![0; length];
        self.stream.read_exact(&mut message)?;
        serde_json::from_slice(&message).map_err(std::io::Error::other)
    }
}
