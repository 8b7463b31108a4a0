//! `cargo xtask test`: every test of the project, in stages, and one closing count.
//!
//! A test binary's name says where it belongs: `gpu_*` needs a GPU and runs on every software adapter, `model_*` runs the
//! real model, `web_*` runs inside the browser, `e2e_*` drives the built page. All others are plain tests.

use crate::summary::{self, Counts, Summary};
use crate::{isa, model, npm, setup, sh, tools, wasm, web};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Which part of the tests to run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Only {
    Unit,
    Gpu,
    Web,
    E2e,
}

impl std::str::FromStr for Only {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "unit" => Ok(Self::Unit),
            "gpu" => Ok(Self::Gpu),
            "web" => Ok(Self::Web),
            "e2e" => Ok(Self::E2e),
            other => Err(format!("'{other}' is none of unit, gpu, web, e2e")),
        }
    }
}

/// What was asked for.
#[derive(Debug, Default)]
pub struct Options {
    pub only: Option<Only>,
    pub fast: bool,
}

/// Test binaries with one of these beginnings are no plain tests.
const SPECIAL: [&str; 3] = ["gpu_", "model_", "e2e_"];
/// Unit tests of the rooms that need a GPU.
const GPU_ROOMS: &str = "test(/^(gpu|kernels)::/)";

/// Kernels whose lanes exchange what they have, but those tests that go through every format or take as long.
const OF_LANES: &str = "(binary(/^gpu_(attention|experts|finish|matmul|matvec|norms|outcomes|segments|small_kernels)$/) and \
    not test(/^(odd_shapes_of_every_format|every_number_of_vectors|caches_in_blocks|decode_of_every|soft_caps)/))";

/// Lavapipe with vectors of 512 bits has subgroups of 16: like real GPUs' they are larger than the groups that exchange. Its cache of compiled
/// kernels does not tell them from others.
const WIDE: &[(&str, &str)] =
    &[("LP_NATIVE_VECTOR_WIDTH", "512"), ("MESA_SHADER_CACHE_DISABLE", "true"), ("KINGLET_SUBGROUPS", "16")];

/// AVX-512: what lavapipe makes of [`WIDE`] without it was never tried.
fn has_wide_vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// What a very slow GPU has time for of the real model.
const SHORT: &str = "(binary(model_tiers) and test(/^short/))";

/// Runs the tests and prints the closing count; true if all passed.
pub fn run(options: Options) -> Result<bool> {
    let start = Instant::now();
    let wants = |part| options.only.is_none_or(|only| only == part);
    let browser = wants(Only::E2e) && !options.fast || wants(Only::Web);
    let firefox = wants(Only::E2e) && !options.fast;
    let needs = setup::Needs { wasm: browser, browser: browser || wants(Only::Gpu), firefox, tint: false, ..setup::Needs::ALL };
    setup::setup(needs)?;
    model::fetch_model(crate::DEFAULT_MODEL)?;
    model::fetch_vocab()?;
    if wants(Only::Gpu) && !options.fast {
        model::fetch_test_models();
    }

    let mut summary = Summary::default();
    let lavapipe = tools::lavapipe_icd();
    if wants(Only::Unit) {
        let filter = binaries(&SPECIAL).map_or("all()".to_owned(), |special| format!("not ({special})"));
        let run = || nextest(&filter, lavapipe.as_deref(), None, &[]);
        stage(&mut summary, "native", run);
        stage(&mut summary, "the page's parts", page);
    }
    if wants(Only::Gpu) {
        let first = if options.fast { &SPECIAL[..1] } else { &SPECIAL[..2] };
        let name = match lavapipe {
            Some(_) => "native, GPU (lavapipe)",
            None => "native, GPU (this machine's)",
        };
        stage(&mut summary, name, || match binaries(first) {
            Some(filter) => nextest(&filter, lavapipe.as_deref(), Some(1), &[]),
            None => Ok(Outcome::Nothing("no tests/gpu_*.rs yet")),
        });
        if !options.fast && lavapipe.is_some() {
            stage(&mut summary, "native, GPU (subgroups of 16)", || match has_wide_vectors() {
                true => nextest(OF_LANES, lavapipe.as_deref(), Some(1), WIDE),
                false => Ok(Outcome::Impossible("this CPU has no vectors of 512 bits")),
            });
        }
        // What a second adapter can show: kernels, the GPU room, and a few tokens of the model at tier C.
        if !options.fast {
            stage(&mut summary, "native, GPU (SwiftShader)", || {
                let Some(icd) = tools::swiftshader_icd() else {
                    return Ok(Outcome::Impossible("no SwiftShader here: it comes with Chromium"));
                };
                let gpu = binaries(&SPECIAL[..1]).map_or(String::new(), |gpu| format!("{gpu} or "));
                nextest(&format!("{gpu}{GPU_ROOMS} or {SHORT}"), Some(&icd), Some(1), &[])
            });
        }
    }
    if wants(Only::Gpu) && !options.fast {
        stage(&mut summary, "kernels compiled for AMD", amd);
    }
    if wants(Only::Web) {
        stage(&mut summary, "JS facade (node)", facade);
        stage(&mut summary, "in the browser", in_browser);
    }
    if wants(Only::E2e) && !options.fast {
        stage(&mut summary, "browser, end to end", end_to_end);
    }

    eprintln!("\nall of it: {:.0} s", start.elapsed().as_secs_f64());
    let total = summary.total();
    if total.passed == 0 {
        eprintln!("xtask: no test ran");
    }
    // Its last line is what CI reads, so nothing is said after it.
    print!("{}", summary.render());
    Ok(total.failed == 0 && total.passed > 0)
}

/// Runs one stage that may have nothing to run, which its note then says.
fn stage(summary: &mut Summary, name: &str, run: impl FnOnce() -> Result<Outcome>) {
    let time = Instant::now();
    match run() {
        Ok(Outcome::Ran(counts)) => summary.add(name, counts, &seconds(time)),
        Ok(Outcome::Nothing(why)) => summary.add(name, Counts::default(), why),
        Ok(Outcome::Impossible(why)) => {
            let counts = Counts { skipped: 1, ..Counts::default() };
            summary.add(name, counts, why);
        }
        Err(error) => summary.add(name, failure(&error), &seconds(time)),
    }
}

enum Outcome {
    Ran(Counts),
    /// There is no such test.
    Nothing(&'static str),
    /// There are tests, but they cannot run on this machine.
    Impossible(&'static str),
}

/// What kept a stage from counting is one failure, and is shown.
fn failure(error: &anyhow::Error) -> Counts {
    eprintln!("xtask: {error:#}");
    Counts { failed: 1, ..Counts::default() }
}

fn seconds(since: Instant) -> String {
    format!("{:.0} s", since.elapsed().as_secs_f64())
}

fn nextest_command(verb: &str, filter: &str, icd: Option<&Path>) -> Command {
    let mut command = tools::cargo();
    command.args(["nextest", verb, "--workspace", "-E", filter]);
    if let Some(icd) = icd {
        // The second name is the one of newer Vulkan loaders.
        command.env("VK_ICD_FILENAMES", icd).env("VK_DRIVER_FILES", icd);
    }
    // Everything was fetched beforehand, so that a test without its data is a failure.
    command.env("KINGLET_CACHE", tools::cache()).env("KINGLET_REQUIRE_MODELS", "1");
    command
}

/// Runs what the filter chooses, on the given Vulkan driver, on so many threads, in this environment.
fn nextest(filter: &str, icd: Option<&Path>, threads: Option<u32>, environment: &[(&str, &str)]) -> Result<Outcome> {
    let mut run = nextest_command("run", filter, icd);
    run.envs(environment.iter().copied());
    if let Some(threads) = threads {
        run.args(["--test-threads", &threads.to_string()]);
    }
    Ok(Outcome::Ran(counted(&mut run, filter, icd)?))
}

fn counted(run: &mut Command, filter: &str, icd: Option<&Path>) -> Result<Counts> {
    let Some(mut counts) = run_nextest(run.args(["--no-tests", "pass"]))? else { return Ok(Counts::default()) };
    let mut list = nextest_command("list", filter, icd);
    list.args(["--message-format", "json"]);
    counts.skipped = summary::nextest_ignored(&sh::output(&mut list).unwrap_or_default());
    Ok(counts)
}

/// What nextest counted; None if all is well without a count.
fn run_nextest(run: &mut Command) -> Result<Option<Counts>> {
    let (ok, output) = sh::run_captured(run.arg("--no-fail-fast"))?;
    let Some(mut counts) = summary::nextest(&output) else {
        if ok {
            return Ok(None);
        }
        bail!("the tests could not be built or started");
    };
    if !ok && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(Some(counts))
}

/// The tests of the page's own modules: its program is built with features of its own, so that `--workspace` leaves them out.
fn page() -> Result<Outcome> {
    let mut run = tools::cargo();
    run.args(["nextest", "run", "--no-default-features", "--features", "page", "--bin", "page"]);
    Ok(run_nextest(&mut run)?.map_or(Outcome::Nothing("no tests in src/page"), Outcome::Ran))
}

/// The filter for all test binaries whose names begin so; None if there are none, for then nextest refuses the filter.
fn binaries(prefixes: &[&str]) -> Option<String> {
    let there: Vec<&str> = prefixes.iter().copied().filter(|prefix| has_tests(prefix)).collect();
    (!there.is_empty()).then(|| format!("binary(/^({})/)", there.join("|")))
}

/// The JS facade's own tests, against a worker that only pretends, and those of the peers' bench.
fn facade() -> Result<Outcome> {
    let folder = tools::root().join("web/npm/test");
    if !folder.is_dir() {
        return Ok(Outcome::Nothing("no web/npm/test yet"));
    }
    let mut node = sh::cmd("node");
    node.args(["--test", "--test-reporter=spec"]);
    let files = [web::files(&folder)?, web::files(&tools::root().join("benches/peers"))?].concat();
    node.args(files.iter().filter(|file| file.to_string_lossy().ends_with(".test.mjs")));
    let (ok, output) = sh::run_captured(&mut node)?;
    let mut counts = summary::node(&output);
    if !ok && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(Outcome::Ran(counts))
}

/// Every kernel of the default model within the limits of registers and workgroup memory, as `cargo xtask isa` finds them.
fn amd() -> Result<Outcome> {
    if isa::radv().is_none() {
        return Ok(Outcome::Impossible("no RADV here: it comes with Mesa's Vulkan drivers"));
    }
    let checked = isa::check(crate::DEFAULT_MODEL)?;
    checked.violations.iter().for_each(|violation| eprintln!("over the limit: {violation}"));
    let failed = checked.violations.len() as u64;
    Ok(Outcome::Ran(Counts { passed: checked.kernels.saturating_sub(failed), failed, skipped: 0 }))
}

/// wasm-bindgen tests in headless Chromium.
fn in_browser() -> Result<Outcome> {
    if !has_tests("web_") {
        return Ok(Outcome::Nothing("no tests/web_*.rs yet"));
    }
    let Some(driver) = tools::chromedriver().filter(|_| tools::chromium().is_some()) else {
        return Ok(Outcome::Impossible("no Chromium with its driver here"));
    };
    let mut cargo = tools::cargo();
    cargo.args(["test", "--target", wasm::TARGET, "--no-default-features"]);
    cargo.args(["--features", "worker", "--no-fail-fast", "--test", "web_*"]);
    wasm::toolchain()?.apply(&mut cargo);
    cargo
        .env("CHROMEDRIVER", driver)
        // A software GPU in a browser is slow, and compiling pipelines is part of a test.
        .env("WASM_BINDGEN_TEST_TIMEOUT", "600");
    let (ok, output) = sh::run_captured(&mut cargo)?;
    let mut counts = summary::libtest(&output);
    if !ok && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(Outcome::Ran(counts))
}

/// The built page and the built package in real browsers.
fn end_to_end() -> Result<Outcome> {
    let Some(filter) = binaries(&SPECIAL[2..]) else {
        return Ok(Outcome::Nothing("no tests/e2e_*.rs yet"));
    };
    let (Some(chromium), Some(driver)) = (tools::chromium(), tools::chromedriver()) else {
        return Ok(Outcome::Impossible("no Chromium with its driver here"));
    };
    web::build().context("the page could not be built")?;
    npm::build().context("the package could not be built")?;
    let lavapipe = tools::lavapipe_icd();
    let mut run = nextest_command("run", &filter, lavapipe.as_deref());
    run.args(["--test-threads", "1"])
        .env("KINGLET_DIST", web::dist())
        .env("KINGLET_NPM", npm::dist())
        .env("KINGLET_CHROMIUM", chromium)
        .env("CHROMEDRIVER", driver);
    if let Some(firefox) = tools::firefox() {
        run.env("KINGLET_FIREFOX", firefox);
    }
    if let Some(icd) = tools::swiftshader_icd() {
        run.env("KINGLET_SWIFTSHADER_ICD", icd);
    }
    Ok(Outcome::Ran(counted(&mut run, &filter, lavapipe.as_deref())?))
}

/// True if tests/ holds a test whose name starts so.
fn has_tests(prefix: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(tools::root().join("tests")) else { return false };
    entries.flatten().any(|entry| {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        name.starts_with(prefix) && (name.ends_with(".rs") || path.join("main.rs").is_file())
    })
}
