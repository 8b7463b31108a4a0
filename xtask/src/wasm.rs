//! The WebAssembly toolchain: a rustc with a wasm32 standard library, wasm-bindgen and wasm-opt.
//!
//! Normally rustup brings the standard library. Where it cannot download, Debian's `rustc-web` compiler is used with a
//! standard library built once from `rust-web-src`, kept in the tools folder as a sysroot of its own: nothing under
//! `/usr` is touched, and a small script `rustc-wasm` is the compiler that knows this sysroot.

use crate::{sh, tools};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

pub const TARGET: &str = "wasm32-unknown-unknown";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// What the Debian way needs; the linker's version is the one that fits this compiler's LLVM or a newer one.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "rust-web-src", "cargo-web", "lld-19"];

/// The compiler that can build for wasm32 on this machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Toolchain {
    /// The active toolchain has the target.
    Active,
    /// Debian's compiler through our script, with a linker of Debian's.
    Debian { rustc: PathBuf, linker: PathBuf },
}

impl Toolchain {
    /// Looks for it; None means that `install` is needed.
    pub fn find() -> Option<Self> {
        if has_std("rustc".as_ref()) {
            return Some(Self::Active);
        }
        let rustc = script();
        let built = std::fs::read_to_string(&rustc)
            .is_ok_and(|text| debian_version().is_some_and(|version| text == script_text(&sysroot(&version))));
        if !built || !has_std(&rustc) {
            return None;
        }
        Some(Self::Debian { rustc, linker: linker()? })
    }

    /// Sets what cargo, Trunk and the test runner must know.
    pub fn apply(&self, command: &mut Command) {
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", "wasm-bindgen-test-runner");
        if let Self::Debian { rustc, linker } = self {
            command.env("RUSTC", rustc).env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
    }

    /// Clippy must be of the very version that made the standard library; Debian packages none for `rustc-web`.
    pub fn has_clippy(&self) -> bool {
        *self == Self::Active
    }

    pub fn describe(&self) -> String {
        match self {
            Self::Active => "the active Rust toolchain".to_owned(),
            Self::Debian { .. } => format!(
                "Debian's rustc {} with a standard library in {}",
                debian_version().unwrap_or_default(),
                tools::dir().join("wasm-std").display()
            ),
        }
    }
}

/// The toolchain, or the sentence that says how to get it.
pub fn toolchain() -> Result<Toolchain> {
    Toolchain::find().context(
        "no Rust compiler here can build for wasm32-unknown-unknown: run `cargo xtask setup`, or install the target \
         by hand with `rustup target add wasm32-unknown-unknown`",
    )
}

/// Brings the wasm32 standard library: rustup first, Debian's packages where that fails.
pub fn install(apt: &mut dyn FnMut(&[&str]) -> Result<()>) -> Result<Toolchain> {
    if sh::which("rustup").is_some() {
        eprintln!("Installing the Rust target {TARGET} through rustup.");
        if sh::attempt(sh::cmd("rustup").args(["target", "add", TARGET]))? && has_std("rustc".as_ref()) {
            return Ok(Toolchain::Active);
        }
        eprintln!("rustup could not bring it.");
    }
    if sh::which("apt-get").is_none() {
        bail!("the Rust target {TARGET} is missing: install it for the compiler that `rustc` names");
    }
    eprintln!("Using Debian's own Rust for WebAssembly instead, beside the active toolchain and without disturbing it.");
    apt(&DEBIAN_PACKAGES)?;
    let version = debian_version().context("Debian's rustc-web did not bring /usr/bin/rustc")?;
    let linker = linker().context("Debian's lld did not bring a wasm-ld")?;
    build_std(&version, &linker)?;
    Toolchain::find().context("the standard library was built, but the compiler does not find it")
}

/// Compiles the standard library in a throw-away crate and keeps its libraries as a sysroot.
fn build_std(version: &str, linker: &Path) -> Result<()> {
    let sysroot = sysroot(version);
    eprintln!("Building the {TARGET} standard library of rustc {version} (about a minute).");
    let scratch = tools::dir().join("wasm-std-build");
    std::fs::create_dir_all(scratch.join("src"))?;
    // An own workspace: the scratch crate may lie inside somebody else's.
    std::fs::write(
        scratch.join("Cargo.toml"),
        "[package]\nname = \"throwaway\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n\n\
         [profile.release]\npanic = \"abort\"\n",
    )?;
    std::fs::write(scratch.join("src/lib.rs"), "")?;
    let target = scratch.join("target");
    sh::run(
        tools::cargo()
            .args(["build", "--release", "--quiet", "--target", TARGET])
            .arg("-Zbuild-std=std,panic_abort,test")
            .arg("--target-dir")
            .arg(&target)
            .current_dir(&scratch)
            .env("RUSTC", DEBIAN_RUSTC)
            // The stable compiler accepts -Zbuild-std only so; link-time optimisation needs the bitcode.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", "-Cembed-bitcode=yes")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker),
    )?;

    let rustlib = sysroot.join("lib/rustlib");
    let libraries = rustlib.join(TARGET).join("lib");
    let _ = std::fs::remove_dir_all(&sysroot);
    std::fs::create_dir_all(&libraries)?;
    for entry in std::fs::read_dir(target.join(TARGET).join("release/deps"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        let is_own = name.to_string_lossy().starts_with("libthrowaway");
        if path.extension().is_some_and(|e| e == "rlib") && !is_own {
            std::fs::copy(&path, libraries.join(name))?;
        }
    }
    // Build scripts and procedural macros run on this machine: they need the host's library from the same sysroot.
    let host = sh::output(sh::cmd(DEBIAN_RUSTC).arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let real = sh::output(sh::cmd(DEBIAN_RUSTC).args(["--print", "sysroot"]))?;
    symlink(&Path::new(real.trim()).join("lib/rustlib").join(host), &rustlib.join(host))?;

    let script = script();
    std::fs::create_dir_all(tools::dir().join("bin"))?;
    std::fs::write(&script, script_text(&sysroot))?;
    make_executable(&script)?;
    std::fs::remove_dir_all(&scratch)?;
    Ok(())
}

fn script() -> PathBuf {
    tools::dir().join("bin/rustc-wasm")
}

fn script_text(sysroot: &Path) -> String {
    format!("#!/bin/sh\nexec {DEBIAN_RUSTC} --sysroot \"{}\" \"$@\"\n", sysroot.display())
}

fn sysroot(version: &str) -> PathBuf {
    tools::dir().join("wasm-std").join(version)
}

/// The version of Debian's compiler: a library made by another version is of no use.
fn debian_version() -> Option<String> {
    let text = sh::output(sh::cmd(DEBIAN_RUSTC).arg("--version")).ok()?;
    text.split_whitespace().nth(1).map(str::to_owned)
}

fn linker() -> Option<PathBuf> {
    ["wasm-ld-19", "wasm-ld-20", "wasm-ld-21", "wasm-ld"].iter().find_map(|name| sh::which(name))
}

fn has_std(rustc: &Path) -> bool {
    let Ok(folder) = sh::output(sh::cmd(rustc).args(["--print", "target-libdir", "--target", TARGET])) else {
        return false;
    };
    std::fs::read_dir(folder.trim())
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
}

#[cfg(unix)]
fn symlink(original: &Path, link: &Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink(original, link)?)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> Result<()> {
    bail!("this way of getting the standard library is for Debian only")
}

#[cfg(unix)]
pub fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

#[cfg(not(unix))]
pub fn make_executable(_: &Path) -> Result<()> {
    Ok(())
}

/// The version that Cargo.lock pins `wasm-bindgen` to; the command-line tool must be of the same.
pub fn wasm_bindgen_version() -> Result<String> {
    let lock = std::fs::read_to_string(tools::root().join("Cargo.lock"))?;
    locked_version(&lock, "wasm-bindgen").context("Cargo.lock names no wasm-bindgen")
}

fn locked_version(lock: &str, package: &str) -> Option<String> {
    let mut lines = lock.lines();
    lines.find(|line| *line == format!("name = \"{package}\""))?;
    let version = lines.next()?.strip_prefix("version = \"")?;
    Some(version.strip_suffix('"')?.to_owned())
}

/// What rustc's wasm32 target turns on, and so what wasm-opt must accept.
const FEATURES: [&str; 7] = [
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// Shrinks a WASM file in place.
pub fn optimize(file: &Path) -> Result<()> {
    let smaller = file.with_extension("opt.wasm");
    sh::run(
        sh::cmd("wasm-opt").args(FEATURES).args(["-Oz", "--strip-debug", "--strip-producers"]).arg(file).arg("-o").arg(&smaller),
    )?;
    std::fs::rename(&smaller, file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_locked_version_is_found() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.80\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n";
        assert_eq!(super::locked_version(lock, "wasm-bindgen").as_deref(), Some("0.2.130"));
        assert_eq!(super::locked_version(lock, "leptos"), None);
    }
}
