//! `cargo xtask check`: what must hold besides the tests.

use crate::{setup, sh, tools, wasm};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// The browser side's two builds: package arguments of each.
const WEB_BUILDS: [(&str, &str); 2] = [("worker", "worker"), ("page", "page")];

/// Runs every check, reports each, fails if one failed.
pub fn run() -> Result<()> {
    setup::setup(setup::Needs::CHECK)?;
    let mut failed = Vec::new();
    let mut check = |name: &'static str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    };

    check("formatting", sh::run(tools::cargo().args(["fmt", "--all", "--check"])));
    check("clippy", clippy_native());
    check("wasm32", lint_wasm());
    check("shaders", shaders());
    check(
        "documentation",
        sh::run(tools::cargo().args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings")),
    );

    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    eprintln!("all checks passed");
    Ok(())
}

fn clippy_native() -> Result<()> {
    sh::run(tools::cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
}

/// Clippy for the browser's builds, or where no clippy fits the wasm32 compiler, that compiler's own warnings.
fn lint_wasm() -> Result<()> {
    let toolchain = wasm::toolchain()?;
    if !toolchain.has_clippy() {
        eprintln!(
            "Clippy cannot lint the wasm32 builds here: {} has no clippy of its version. Its own warnings are checked \
             instead.",
            toolchain.describe()
        );
    }
    for (features, bin) in WEB_BUILDS {
        let mut cargo = tools::cargo();
        cargo.arg(if toolchain.has_clippy() { "clippy" } else { "check" });
        cargo.args(["--target", wasm::TARGET]);
        cargo.args(["--no-default-features", "--features", features]);
        cargo.args(["--lib", "--bin", bin]);
        toolchain.apply(&mut cargo);
        if toolchain.has_clippy() {
            sh::run(cargo.args(["--", "-D", "warnings"]))?;
        } else {
            no_warnings(&mut cargo)?;
        }
    }
    Ok(())
}

/// Runs `cargo check` and fails on a warning of the crate's own. (`-D warnings` in RUSTFLAGS would rebuild every dependency.)
fn no_warnings(cargo: &mut Command) -> Result<()> {
    let (ok, output) = sh::run_captured(cargo)?;
    if !ok || output.contains("warning: `kinglet`") {
        bail!("`{}` is not clean", sh::show(cargo));
    }
    Ok(())
}

/// Every shipped permutation of every shader: naga by a native test, which also writes the browser's form of each to a
/// folder for Tint.
fn shaders() -> Result<()> {
    const TEST: &str = "shaders_validate";
    let test = tools::root().join("tests").join(format!("{TEST}.rs"));
    if !test.is_file() {
        eprintln!("No {}: the shaders are not checked.", test.strip_prefix(tools::root()).unwrap_or(&test).display());
        return Ok(());
    }
    let folder = tools::target().join("wgsl");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    sh::run(tools::cargo().args(["test", "--quiet", "--test", TEST]).env("KINGLET_DUMP_WGSL", &folder))?;
    tint(&folder)
}

/// Compiles every .wgsl file of a folder with Tint, as Chromium would.
fn tint(folder: &Path) -> Result<()> {
    let script = tools::dir().join("node").join("tint.mjs");
    std::fs::write(&script, include_str!("tint.mjs"))?;
    sh::run(sh::cmd("node").arg(&script).arg(folder))
}
