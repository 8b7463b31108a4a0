//! `isa FOLDER`: what a Vulkan driver's compiler makes of every WGSL file of a folder, as one JSON object. Nothing runs and no card is needed:
//! `RADV_FORCE_FAMILY` names the one that Mesa's RADV compiles for. `cargo xtask isa` makes a table of it.
//!
//! With `ISA_ASM=1` the assembly of each shader is written beside it.

mod asm;
mod driver;
mod shader;
mod turns;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Report {
    device: String,
    shaders: Vec<ShaderReport>,
}

#[derive(Serialize)]
struct ShaderReport {
    file: String,
    #[serde(flatten)]
    shader: shader::Facts,
    #[serde(flatten)]
    code: driver::Code,
    /// Loops with the instructions that are their own; the first is the whole program.
    loops: Vec<asm::Loop>,
}

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).context("usage: isa FOLDER")?);
    let driver = driver::Driver::open()?;
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wgsl"))
        .collect();
    files.sort();
    let shaders =
        files.iter().map(|file| report(&driver, file).with_context(|| file.display().to_string())).collect::<Result<_>>()?;
    println!("{}", serde_json::to_string(&Report { device: driver.name().to_owned(), shaders })?);
    Ok(())
}

fn report(driver: &driver::Driver, file: &Path) -> Result<ShaderReport> {
    let shader = shader::Shader::new(&std::fs::read_to_string(file)?)?;
    let (code, assembly) = driver.compile(&shader)?;
    if std::env::var_os("ISA_ASM").is_some() {
        std::fs::write(file.with_extension("s"), &assembly)?;
    }
    let mut loops = asm::loops(&assembly);
    turns::complete(&mut loops, &shader.counted);
    // A driver that calls its numbers otherwise, or writes its assembly otherwise, is not to pass for a frugal one.
    let found: u64 = loops.iter().map(|one| u64::from(one.instructions)).sum();
    if code.vgprs == 0 || code.instructions == 0 || found.abs_diff(code.instructions) * 20 > code.instructions {
        bail!("the driver's words are not understood: {code:?}, {found} instructions in its assembly");
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(ShaderReport { file: name, shader: shader.facts, code, loops })
}
