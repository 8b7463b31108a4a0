//! `kinglet generate`: one prompt, one answer.

use super::args::GenerateArgs;
use super::conversation::{self, Conversation};
use super::exit::Failure;
use super::model::ModelFile;
use super::output::{self, Stream, note};
use kinglet::engine::{AbortSignal, Generation};
use pollster::block_on;
use serde::Serialize;
use std::io::IsTerminal;

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    adapter: &'a str,
    tier: &'a str,
    prompt_ids: &'a [u32],
    ids: &'a [u32],
    text: &'a str,
    finish_reason: &'a str,
    usage: Usage,
    timings: Timings,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
}

#[derive(Serialize)]
struct Timings {
    load_s: f64,
    prefill_s: f64,
    decode_s: f64,
    ttft_s: f64,
    prefill_tok_s: f64,
    decode_tok_s: f64,
}

/// Loads the model, answers, and prints the text as it comes or one JSON object at the end.
pub fn run(args: &GenerateArgs) -> Result<(), Failure> {
    let params = args.answer.params();
    params.sampling.validate()?;
    let file = ModelFile::open(&args.model)?;
    let raw_ids = args.prompt.as_deref().map(|prompt| file.encode(prompt)).transpose()?;
    let mut loaded = file.load(&args.device, args.answer.ctx)?;
    let prompt_ids = match raw_ids {
        Some(ids) => ids,
        None => {
            let chat = Conversation::new(args.system.clone());
            chat.encode(&loaded.engine, args.chat.as_deref().unwrap_or_default())?
        }
    };
    let abort = AbortSignal::new();
    let mut stream = Stream::new(&abort);
    let mut on_token = |delta: &str, _| {
        if !args.json {
            stream.push(delta);
        }
    };
    let engine = &mut loaded.engine;
    let generation = match args.chat {
        Some(_) => block_on(engine.answer(&prompt_ids, &params, &mut on_token, &abort))?,
        None => block_on(engine.generate(&prompt_ids, &params, &mut on_token, &abort))?,
    };
    stream.finish()?;
    if args.json {
        let completion_tokens = generation.ids.len();
        let timings = generation.timings;
        return output::json(&Report {
            model: &loaded.model,
            adapter: loaded.adapter(),
            tier: loaded.tier(),
            prompt_ids: &prompt_ids,
            ids: &generation.ids,
            text: &generation.text,
            finish_reason: generation.finish_reason.name(),
            usage: Usage { prompt_tokens: prompt_ids.len(), completion_tokens, total_tokens: prompt_ids.len() + completion_tokens },
            timings: Timings {
                load_s: loaded.load_s,
                prefill_s: timings.prefill_s,
                decode_s: timings.decode_s,
                ttft_s: timings.ttft_s,
                prefill_tok_s: timings.prefill_tok_s,
                decode_tok_s: timings.decode_tok_s,
            },
        });
    }
    if std::io::stdout().is_terminal() {
        output::line(format_args!(""))?;
    }
    if let Some(full) = conversation::full(&loaded.engine, &generation) {
        note(format_args!("kinglet: the answer ends here because {full}."));
    }
    if std::io::stderr().is_terminal() {
        note(format_args!("{}", summary(&generation)));
    }
    Ok(())
}

/// Tokens and speed of an answer, for people.
pub fn summary(generation: &Generation) -> String {
    format!(
        "[{} tokens, {:.1} tok/s; first after {:.2} s]",
        generation.ids.len(),
        generation.timings.decode_tok_s,
        generation.timings.ttft_s
    )
}
