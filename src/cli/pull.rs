//! `kinglet pull`: a known model into the cache.

use super::args::PullArgs;
use super::exit::Failure;
use super::{model, output};
use kinglet::weights::known;
use serde::Serialize;

#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    path: String,
    bytes: Option<u64>,
}

/// Fetches the model unless it is there, and prints its path.
pub fn run(args: &PullArgs) -> Result<(), Failure> {
    let known = known::find(&args.name).ok_or_else(|| {
        Failure::arguments(format!("no model is known by the name {:?}; known are: {}", args.name, known::names()))
    })?;
    let path = model::pull(known)?;
    if args.json {
        let bytes = std::fs::metadata(&path).ok().map(|metadata| metadata.len());
        output::json(&Report { name: known.name, path: path.display().to_string(), bytes })
    } else {
        output::line(format_args!("{}", path.display()))
    }
}
