//! `kinglet logits`: what the model expects after a prompt.

use super::args::LogitsArgs;
use super::exit::Failure;
use super::model::{Loaded, ModelFile};
use super::output::{self, printable};
use super::perplexity::context_for;
use kinglet::engine::negative_log_likelihood;
use pollster::block_on;
use serde::Serialize;

const FIRST: usize = 16;

#[derive(Serialize)]
struct Report {
    model: String,
    adapter: String,
    tier: String,
    prompt_ids: Vec<u32>,
    /// The likeliest tokens after the whole prompt.
    top: Vec<Candidate>,
    logits_first16: Vec<f32>,
    sum: f64,
    l2: f64,
    min: f32,
    max: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    all: Option<Vec<Best>>,
}

#[derive(Serialize)]
struct Candidate {
    id: u32,
    piece: String,
    logit: f32,
    logprob: f64,
}

/// The likeliest token after the prompt up to and with `position`.
#[derive(Serialize)]
struct Best {
    position: usize,
    id: u32,
    piece: String,
    /// Its logit minus the second one's.
    margin: f32,
}

/// Runs the prompt and prints what its logits are.
pub fn run(args: &LogitsArgs) -> Result<(), Failure> {
    let file = ModelFile::open(&args.model)?;
    let prompt_ids = match (&args.ids, &args.prompt) {
        (Some(ids), _) => ids.clone(),
        (None, prompt) => file.encode(prompt.as_deref().unwrap_or_default())?,
    };
    let context = context_for(&file, prompt_ids.len())?;
    let mut loaded = file.load(&args.device, Some(context))?;
    let mut bests = Vec::new();
    let mut last = Vec::new();
    let end = prompt_ids.len().saturating_sub(1);
    block_on(loaded.engine.logits(&prompt_ids, &mut |position, logits| {
        if args.all {
            let (id, margin) = best(logits);
            bests.push((position, id, margin));
        }
        if position == end {
            last = logits.to_vec();
        }
    }))?;
    let report = report(args, &loaded, prompt_ids, &last, &bests);
    if args.json { output::json(&report) } else { print(&report) }
}

fn report(args: &LogitsArgs, loaded: &Loaded, prompt_ids: Vec<u32>, logits: &[f32], bests: &[(usize, u32, f32)]) -> Report {
    let tokenizer = loaded.engine.tokenizer();
    let top = top(logits, args.top).into_iter().map(|id| Candidate {
        id,
        piece: tokenizer.piece(id),
        logit: logits[id as usize],
        logprob: -negative_log_likelihood(logits, id),
    });
    let all = bests.iter().map(|&(position, id, margin)| Best { position, id, piece: tokenizer.piece(id), margin });
    let wide = || logits.iter().map(|logit| f64::from(*logit));
    Report {
        model: loaded.model.clone(),
        adapter: loaded.adapter().into(),
        tier: loaded.tier().into(),
        prompt_ids,
        top: top.collect(),
        logits_first16: logits.iter().take(FIRST).copied().collect(),
        sum: wide().sum(),
        l2: wide().map(|logit| logit * logit).sum::<f64>().sqrt(),
        min: logits.iter().copied().fold(f32::INFINITY, f32::min),
        max: logits.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        all: args.all.then(|| all.collect()),
    }
}

/// The ids of the `count` largest logits, largest first; equal ones by id.
fn top(logits: &[f32], count: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    ids.truncate(count);
    ids
}

/// The first largest logit's id, and how far the next one is behind.
fn best(logits: &[f32]) -> (u32, f32) {
    let (mut id, mut first, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (candidate, &logit) in (0..).zip(logits) {
        if logit > first {
            second = std::mem::replace(&mut first, logit);
            id = candidate;
        } else if logit > second {
            second = logit;
        }
    }
    (id, first - second)
}

fn print(report: &Report) -> Result<(), Failure> {
    output::line(format_args!("{} prompt tokens on {} (tier {})", report.prompt_ids.len(), report.adapter, report.tier))?;
    for best in report.all.iter().flatten() {
        let piece = format!("{:?}", best.piece);
        output::line(format_args!("{:>6}  {:>8} {piece:24} margin {:>9.4}", best.position, best.id, best.margin))?;
    }
    output::line(format_args!("{:>8} {:24} {:>10} {:>9}", "id", "piece", "logit", "logprob"))?;
    for Candidate { id, piece, logit, logprob } in &report.top {
        let piece = format!("{:?}", printable(piece));
        output::line(format_args!("{id:>8} {piece:24} {logit:>10.4} {logprob:>9.4}"))?;
    }
    let Report { sum, l2, min, max, .. } = report;
    output::line(format_args!("sum {sum:.3}, l2 {l2:.3}, min {min:.4}, max {max:.4}"))
}

#[cfg(test)]
mod tests {
    use super::{best, top};

    #[test]
    fn the_largest_come_first_and_ties_go_to_the_smaller_id() {
        let logits = [1.0, 5.0, -2.0, 5.0, 4.5];
        assert_eq!(top(&logits, 3), [1, 3, 4]);
        assert_eq!(top(&logits, 99).len(), 5);
        assert_eq!(best(&logits), (1, 0.0));
        assert_eq!(best(&logits[2..]), (1, 0.5));
    }
}
