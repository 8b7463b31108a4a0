//! The machine room: everything that builds, fetches, serves and checks Kinglet.

mod check;
mod cost;
mod devices;
mod isa;
// The table of models and how they are fetched is the program's own.
#[path = "../../src/weights/known/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
mod known;
mod model;
mod npm;
mod plan;
mod roofline;
mod serve;
#[cfg(test)]
mod serve_tests;
mod setup;
mod sh;
mod summary;
mod test;
mod tools;
mod wasm;
mod web;

use anyhow::{Result, bail};
use lexopt::prelude::*;

const HELP: &str = "\
cargo xtask COMMAND

  setup               install what building and testing need (asks nothing; a second run only looks)
  model [NAME]        fetch a model into the user cache and check it (default: smollm2-135m; `--list` names them)
  vocab               fetch the vocabularies and chat templates that the tests read
  web                 build the chat page into dist/
  npm                 build the JS module into web/npm/dist/
  serve [OPTIONS]     set up, fetch the model, build the page and serve both on this machine
        --port N      (default 8080)   --model NAME (default smollm2-135m)   --no-open
        --no-build    serve dist/ as it is
  test [OPTIONS]      set up, then run every test: native on two software GPUs, and in a real browser
        --only unit|gpu|web|e2e        --fast (native tests on one GPU, without the real model)
  isa [MODEL]         what Mesa's compiler for AMD makes of the model's kernels, without a card; fails on spills and too many registers
        --update        write benches/isa.txt anew
  roofline [MODEL]    tokens per second that GPUs of several makers should reach, from the model's plan and kernels
        --position N    of the decode step (default 128)
  check               formatting, clippy, WGSL through naga and Tint, documentation

The cache is $KINGLET_CACHE, or $XDG_CACHE_HOME/kinglet, or ~/.cache/kinglet.
";

const DEFAULT_MODEL: &str = known::DEFAULT;

fn main() -> std::process::ExitCode {
    match run() {
        Ok(true) => std::process::ExitCode::SUCCESS,
        // Said already.
        Ok(false) => std::process::ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// True if all is well, false if a failure was reported in full.
fn run() -> Result<bool> {
    let mut args = lexopt::Parser::from_env();
    let command = match args.next()? {
        Some(Value(v)) => v.string()?,
        Some(Long("help") | Short('h')) | None => {
            print!("{HELP}");
            return Ok(true);
        }
        Some(other) => return Err(other.unexpected().into()),
    };
    match command.as_str() {
        "setup" => {
            finish(args)?;
            setup::setup(setup::Needs::ALL)?;
        }
        "model" => {
            let mut name = DEFAULT_MODEL.to_owned();
            while let Some(arg) = args.next()? {
                match arg {
                    Long("list") => {
                        model::list();
                        return Ok(true);
                    }
                    Value(v) => name = v.string()?,
                    other => return Err(other.unexpected().into()),
                }
            }
            setup::setup(setup::Needs::MODEL)?;
            let path = model::fetch_model(&name)?;
            println!("{}", path.display());
        }
        "vocab" => {
            finish(args)?;
            setup::setup(setup::Needs::MODEL)?;
            println!("{}", model::fetch_vocab()?.display());
        }
        "web" => {
            finish(args)?;
            setup::setup(setup::Needs::WEB)?;
            web::build()?;
        }
        "npm" => {
            finish(args)?;
            setup::setup(setup::Needs::WEB)?;
            npm::build()?;
        }
        "serve" => serve_command(args)?,
        "test" => {
            let mut options = test::Options::default();
            while let Some(arg) = args.next()? {
                match arg {
                    Long("only") => options.only = Some(args.value()?.parse()?),
                    Long("fast") => options.fast = true,
                    other => return Err(other.unexpected().into()),
                }
            }
            return test::run(options);
        }
        "isa" => {
            let mut options = isa::Options { model: DEFAULT_MODEL.to_owned(), update: false };
            while let Some(arg) = args.next()? {
                match arg {
                    Long("update") => options.update = true,
                    Value(v) => options.model = v.string()?,
                    other => return Err(other.unexpected().into()),
                }
            }
            return isa::run(&options);
        }
        "roofline" => {
            let (mut name, mut position) = (DEFAULT_MODEL.to_owned(), isa::POSITION);
            while let Some(arg) = args.next()? {
                match arg {
                    Long("position") => position = args.value()?.parse()?,
                    Value(v) => name = v.string()?,
                    other => return Err(other.unexpected().into()),
                }
            }
            roofline::run(&name, position)?;
        }
        "check" => {
            finish(args)?;
            check::run()?;
        }
        "help" => print!("{HELP}"),
        other => bail!("there is no command '{other}'; `cargo xtask help` lists them"),
    }
    Ok(true)
}

fn finish(mut args: lexopt::Parser) -> Result<()> {
    match args.next()? {
        None => Ok(()),
        Some(extra) => Err(extra.unexpected().into()),
    }
}

fn serve_command(mut args: lexopt::Parser) -> Result<()> {
    let (mut port, mut name) = (8080u16, DEFAULT_MODEL.to_owned());
    let (mut open, mut build) = (true, true);
    while let Some(arg) = args.next()? {
        match arg {
            Long("port") => port = args.value()?.parse()?,
            Long("model") => name = args.value()?.string()?,
            Long("no-open") => open = false,
            Long("no-build") => build = false,
            other => return Err(other.unexpected().into()),
        }
    }
    // A port that is taken should be known before minutes of building.
    let listener = serve::bind(port)?;
    setup::setup(if build { setup::Needs::SERVE } else { setup::Needs::MODEL })?;
    model::fetch_model(&name)?;
    if build {
        web::build()?;
    }
    let url = format!("http://{}/", listener.local_addr()?);
    println!("\nKinglet is at {url}   (Ctrl-C stops it)");
    if open {
        sh::open_in_browser(&url);
    }
    let site = serve::Site { pages: web::dist(), models: tools::cache().join("models") };
    serve::run(listener, site)?;
    Ok(())
}
