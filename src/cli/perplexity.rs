//! `kinglet perplexity`: how well the model predicts a text, in one context and without a stride.

use super::args::PerplexityArgs;
use super::exit::Failure;
use super::model::ModelFile;
use super::output::{self, note};
use super::progress::Bar;
use kinglet::model::ModelConfig;
use pollster::block_on;
use serde::Serialize;

/// Contexts are rounded up to a multiple of this.
const CONTEXT_STEP: usize = 256;

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    adapter: &'a str,
    tier: &'a str,
    tokens: usize,
    mean_nll: f64,
    ppl: f64,
}

/// Runs the text and prints its perplexity.
pub fn run(args: &PerplexityArgs) -> Result<(), Failure> {
    let path = args.file.display();
    let bytes = std::fs::read(&args.file).map_err(|error| Failure::arguments(format!("cannot read {path}: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| Failure::arguments(format!("{path} is not UTF-8: {error}")))?;
    let file = ModelFile::open(&args.model)?;
    let mut ids = file.encode(&text)?;
    if let Some(most) = args.tokens {
        if ids.len() < most as usize {
            note(format_args!("kinglet: {path} has only {} tokens; all of them are taken.", ids.len()));
        }
        ids.truncate(most as usize);
    }
    if ids.len() < 2 {
        return Err(Failure::arguments(format!("{path} has {} tokens, and at least 2 are needed", ids.len())));
    }
    let context = context_for(&file, ids.len())?;
    let mut loaded = file.load(&args.device, Some(context))?;
    let bar = Bar::spinner(format!("{} tokens", ids.len()));
    let perplexity = block_on(loaded.engine.perplexity(&ids))?;
    drop(bar);
    let report = Report {
        model: &loaded.model,
        adapter: loaded.adapter(),
        tier: loaded.tier(),
        tokens: perplexity.tokens,
        mean_nll: perplexity.mean_nll,
        ppl: perplexity.ppl(),
    };
    if args.json {
        return output::json(&report);
    }
    let Report { tokens, mean_nll, ppl, .. } = report;
    output::line(format_args!("perplexity {ppl:.5} over {tokens} tokens (mean NLL {mean_nll:.6})"))
}

/// A context that holds `tokens` and is not much larger.
pub fn context_for(file: &ModelFile, tokens: usize) -> Result<u32, Failure> {
    let trained = ModelConfig::from_gguf(&file.gguf().metadata, &file.gguf().tensors)?.context;
    if tokens > trained as usize {
        return Err(Failure::arguments(format!(
            "the text is {tokens} tokens long and {} was trained for {trained}; take fewer",
            file.name()
        )));
    }
    Ok(trained.min(tokens.next_multiple_of(CONTEXT_STEP).max(CONTEXT_STEP) as u32))
}
