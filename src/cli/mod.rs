//! The command line: reads arguments, calls the engine, writes to the terminal. Nothing here knows how a model works.

mod args;
mod bench;
mod chat;
mod conversation;
mod devices;
mod exit;
mod fit;
mod generate;
mod input;
mod inspect;
mod interrupt;
mod logits;
mod model;
mod output;
mod perplexity;
mod profile;
mod progress;
mod pull;
mod shaders;
mod steps;
mod tuning;

use args::{Args, Command};
use clap::Parser;
use std::process::ExitCode;

/// Does what the arguments say. The code is 0 for good, else as [`exit::Failure`] has it.
pub fn run() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Chat(args) => chat::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Shaders(args) => shaders::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Pull(args) => pull::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
