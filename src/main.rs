//! The native program `kinglet`: models on this machine's GPU, in a terminal.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
