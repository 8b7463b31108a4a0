//! `cargo xtask npm`: the JS module `kinglet`, as it would be published.

use crate::{sh, tools, wasm, web};
use anyhow::{Result, bail};
use std::path::PathBuf;

/// The bindings' base name: web/npm/worker.js imports engine.js, and that engine_bg.wasm.
const BINDINGS: &str = "engine";

/// Where the built package lies.
pub fn dist() -> PathBuf {
    tools::root().join("web/npm/dist")
}

/// Builds the package and prints what it weighs.
pub fn build() -> Result<()> {
    let facade = tools::root().join("web/npm");
    if !facade.join("package.json").is_file() {
        bail!("there is no package to build: web/npm/package.json is missing");
    }
    let toolchain = wasm::toolchain()?;
    let mut cargo = tools::cargo();
    cargo.args(["build", "--profile", "web", "--target", wasm::TARGET]);
    cargo.args(["--no-default-features", "--features", "worker", "--bin", "worker"]);
    toolchain.apply(&mut cargo);
    sh::run(&mut cargo)?;

    let out = dist();
    if out.exists() {
        std::fs::remove_dir_all(&out)?;
    }
    std::fs::create_dir_all(&out)?;
    sh::run(
        sh::cmd("wasm-bindgen")
            .args(["--target", "web", "--no-typescript", "--out-name", BINDINGS])
            .arg("--out-dir")
            .arg(&out)
            .arg(tools::target().join(wasm::TARGET).join("web/worker.wasm")),
    )?;
    wasm::optimize(&out.join(format!("{BINDINGS}_bg.wasm")))?;
    for entry in std::fs::read_dir(&facade)? {
        let path = entry?.path();
        if path.is_file() {
            std::fs::copy(&path, out.join(path.file_name().unwrap_or_default()))?;
        }
    }
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        std::fs::copy(tools::root().join(license), out.join(license))?;
    }
    web::print_sizes("web/npm/dist/", &out)
}
