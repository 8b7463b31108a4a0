//! `cargo xtask web`: the chat page, built by Trunk into dist/ and shrunk.

use crate::{model, sh, tools, wasm};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Where the built page lies.
pub fn dist() -> PathBuf {
    tools::root().join("dist")
}

/// Builds the page and prints what it weighs.
pub fn build() -> Result<()> {
    let toolchain = wasm::toolchain()?;
    if !tools::root().join("web/index.html").is_file() {
        bail!("there is no page to build: web/index.html is missing");
    }
    let mut trunk = sh::cmd("trunk");
    // Without --release Trunk runs no wasm-opt of its own, whatever the page's attributes say.
    trunk.args(["build", "--cargo-profile", "web"]);
    toolchain.apply(&mut trunk);
    // Trunk reads NO_COLOR as a boolean and stops at "1".
    trunk.env_remove("NO_COLOR");
    sh::run(&mut trunk)?;
    for file in files(&dist())? {
        if file.extension().is_some_and(|e| e == "wasm") {
            wasm::optimize(&file)?;
        }
    }
    print_sizes("dist/", &dist())
}

/// All files below a folder, sorted.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A table of every file's size, raw and gzipped.
pub fn print_sizes(title: &str, folder: &Path) -> Result<()> {
    println!("\n{title:<44} {:>12} {:>12}", "bytes", "gzip");
    let (mut all, mut all_packed) = (0, 0);
    for file in files(folder)? {
        let bytes = file.metadata()?.len();
        let packed = model::gzip_size(&file)?;
        let name = file.strip_prefix(folder).unwrap_or(&file);
        println!("  {:<42} {bytes:>12} {packed:>12}", name.display());
        all += bytes;
        all_packed += packed;
    }
    println!("  {:<42} {all:>12} {all_packed:>12}", "all");
    Ok(())
}
