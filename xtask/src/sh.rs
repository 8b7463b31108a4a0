//! Running other programs, and saying so.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a program lies, searched along `PATH` with the tools folder first.
pub fn which(program: &str) -> Option<PathBuf> {
    let name = if cfg!(windows) && !program.contains('.') { format!("{program}.exe") } else { program.to_owned() };
    std::env::split_paths(&crate::tools::path()).find_map(|dir| {
        let file = dir.join(&name);
        is_executable(&file).then_some(file)
    })
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

/// A command in the repository's root with the tools folder on its `PATH` and nothing on its standard input.
pub fn cmd(program: impl AsRef<OsStr>) -> Command {
    // A bare name is looked up by hand: the child's PATH, not ours, is the one that holds the tools.
    let program = program.as_ref();
    let found = program.to_str().and_then(which);
    let mut command = Command::new(found.as_deref().map_or(program, Path::as_os_str));
    command.current_dir(crate::tools::root()).env("PATH", crate::tools::path()).stdin(Stdio::null());
    command
}

/// The command line as a person would type it.
pub fn show(command: &Command) -> String {
    let mut line = Path::new(command.get_program()).file_stem().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    for arg in command.get_args() {
        let arg = arg.to_string_lossy();
        line.push(' ');
        if arg.is_empty() || arg.contains([' ', '(', '|', '*', '"', '$']) {
            line.push_str(&format!("'{arg}'"));
        } else {
            line.push_str(&arg);
        }
    }
    line
}

/// Prints the command, runs it with our own output, and fails if it fails.
pub fn run(command: &mut Command) -> Result<()> {
    if attempt(command)? {
        return Ok(());
    }
    bail!("`{}` failed", show(command))
}

/// Prints and runs the command; true if it succeeded. An error means that it could not be started.
pub fn attempt(command: &mut Command) -> Result<bool> {
    eprintln!("$ {}", show(command));
    let status = command.status().with_context(|| format!("could not start `{}`", show(command)))?;
    Ok(status.success())
}

/// Runs the command silently and returns its standard output, or what it said on standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command.stderr(Stdio::piped()).output().with_context(|| format!("could not start `{}`", show(command)))?;
    if !done.status.success() {
        bail!("`{}` failed: {}", show(command), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Prints and runs the command, passing its output on while keeping a copy of both streams (without colours).
pub fn run_captured(command: &mut Command) -> Result<(bool, String)> {
    eprintln!("$ {}", show(command));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{}`", show(command)))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let other = std::thread::spawn(move || tee(err, std::io::stderr()));
    let mut text = tee(out, std::io::stdout());
    let status = child.wait()?;
    text.push_str(&other.join().unwrap_or_default());
    Ok((status.success(), text))
}

fn tee(from: Option<impl std::io::Read>, mut to: impl Write) -> String {
    let mut kept = String::new();
    let Some(from) = from else { return kept };
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        // Our own output being closed must not stop the child.
        let _ = to.write_all(&line).and_then(|()| to.flush());
        kept.push_str(&without_colours(&String::from_utf8_lossy(&line)));
        line.clear();
    }
    kept
}

/// The text without ANSI escape sequences (`ESC [ … letter`).
pub fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Opens the page in the user's browser where there is a desktop to open it on.
pub fn open_in_browser(url: &str) {
    let has_desktop =
        cfg!(any(windows, target_os = "macos")) || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|v| std::env::var_os(v).is_some());
    if !has_desktop || std::env::var_os("CI").is_some() {
        return;
    }
    let mut command = if cfg!(target_os = "macos") {
        cmd("open")
    } else if cfg!(windows) {
        let mut c = cmd("cmd");
        c.args(["/C", "start", ""]);
        c
    } else {
        cmd("xdg-open")
    };
    // The address is printed anyway: a desktop without a browser is no error.
    let _ = command.arg(url).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}

#[cfg(test)]
mod tests {
    #[test]
    fn colours_are_stripped() {
        assert_eq!(super::without_colours("\u{1b}[32;1mPASS\u{1b}[0m x"), "PASS x");
    }

    #[test]
    fn output_is_captured_from_both_streams() {
        let (ok, text) = super::run_captured(super::cmd("sh").args(["-c", "echo one; echo two >&2; exit 3"])).expect("sh starts");
        assert!(!ok && text.contains("one\n") && text.contains("two\n"));
    }

    #[test]
    fn quoting_is_shown() {
        let mut command = std::process::Command::new("/usr/bin/env");
        command.args(["-E", "test(a) | b"]);
        assert_eq!(super::show(&command), "env -E 'test(a) | b'");
    }
}
