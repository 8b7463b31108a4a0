//! Running the built program `kinglet` on files made for a test.
#![allow(dead_code, reason = "every test uses its own part")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program, not started yet, with nothing to read and its outputs caught.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
    // Mesa complains on stderr where there is none, as in containers.
    command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the program starts")
}

/// What the program wrote to stderr.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the program, which must end well, and reads the one line of JSON that it prints.
pub fn json(arguments: &[&str]) -> Value {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", errors(&output));
    assert_eq!(errors(&output), "", "quiet in pipes");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

/// Asserts that the program ends with `code` and one paragraph on stderr that holds all of `words`.
pub fn fails(code: i32, arguments: &[&str], words: &[&str]) {
    let output = run(arguments);
    let errors = errors(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    assert!(output.stdout.is_empty(), "{arguments:?} wrote to stdout");
    for word in words {
        assert!(errors.contains(word), "{arguments:?}: no {word:?} in {errors:?}");
    }
    // clap's own messages are longer.
    if code != 2 {
        assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
    }
}

/// A file for this test.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
    std::fs::create_dir_all(&folder).expect("a folder for files");
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a file is written");
    path
}

/// A path as an argument.
pub fn argument(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// Asserts that an object has exactly these keys.
pub fn has_keys(value: &Value, keys: &[&str]) {
    let mut found: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut wanted = keys.to_vec();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}
