//! `kinglet bench`: tokens per second, and what one token costs.

use super::args::BenchArgs;
use super::exit::Failure;
use super::model::{Loaded, ModelFile};
use super::output;
use super::profile::Profile;
use super::progress::Bar;
use super::steps::Step;
use kinglet::engine::{AbortSignal, Engine, GenerateParams, Timings};
use kinglet::gpu::{GpuOptions, ReadbackRing};
use kinglet::kernels::{AttentionVariant, Variants};
use kinglet::model::{TunedBy, Tuning};
use kinglet::sampling::SamplingParams;
use pollster::block_on;
use serde::Serialize;

#[derive(Serialize)]
struct Report {
    model: String,
    adapter: String,
    tier: String,
    runs: u32,
    prefill: Vec<Speed>,
    decode: Speed,
    /// Tokens in the context before the measured answer.
    depth: u32,
    dispatches_per_token: usize,
    submits_per_token: f64,
    /// At the middle of the measured answer; it grows with the context.
    bytes_read_per_token: u64,
    weight_bytes: u64,
    readback_bytes_per_token: u64,
    tokens_in_flight: usize,
    allocations_in_decode: u64,
    peak_gpu_bytes: u64,
    /// With `--profile`: a decode step at the middle of the measured answer, and a chunk of the longest prompt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    profile: Vec<Profile>,
    /// Where the choice of kernels comes from, and what it is.
    tuned_by: TunedBy,
    tuning: Tuning,
    attention: AttentionVariant,
}

#[derive(Serialize)]
struct Speed {
    tokens: u32,
    median_tok_s: f64,
    min_tok_s: f64,
    tok_s: Vec<f64>,
}

impl Speed {
    fn new(tokens: u32, tok_s: Vec<f64>) -> Self {
        let mut sorted = tok_s.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median_tok_s =
            if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] };
        Self { tokens, median_tok_s, min_tok_s: sorted[0], tok_s }
    }
}

/// Loads the model, measures, and prints the table or one JSON object.
pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    let longest = args.prefill.iter().copied().max().unwrap_or(0).max(args.depth + args.decode);
    let gpu = GpuOptions { profile: args.profile, ..args.device.gpu() };
    let loaded = ModelFile::open(&args.model)?.load_on(gpu, args.device.load(Some(longest + 1)))?;
    let report = measure(args, loaded)?;
    if args.json { output::json(&report) } else { print(&report) }
}

fn measure(args: &BenchArgs, mut loaded: Loaded) -> Result<Report, Failure> {
    let engine = &mut loaded.engine;
    let bar = Bar::spinner("warming up");
    let prompt = ids(args.depth, engine.config().vocab);
    // Making room is no part of any speed.
    let longest = args.prefill.iter().copied().max().unwrap_or(0).max(args.depth + args.decode);
    block_on(engine.model_mut().reserve(longest + 1))?;
    answer(engine, &prompt[..prompt.len().min(8)], 2)?;

    let mut prefill = Vec::new();
    for &tokens in &args.prefill {
        let prompt = ids(tokens, engine.config().vocab);
        let mut tok_s = Vec::new();
        for run in 1..=args.runs {
            bar.say(format!("prefill {tokens}, run {run} of {}", args.runs));
            engine.reset();
            tok_s.push(answer(engine, &prompt, 1)?.timings.prefill_tok_s);
        }
        prefill.push(Speed::new(tokens, tok_s));
    }
    // From here on only the prompt's last token runs again: the rest stays in the cache.
    bar.say(format!("reading {} tokens", args.depth));
    answer(engine, &prompt, 1)?;
    let mut tok_s = Vec::new();
    for run in 1..=args.runs {
        bar.say(format!("decode {}, run {run} of {}", args.decode, args.runs));
        tok_s.push(answer(engine, &prompt, args.decode + 1)?.timings.decode_tok_s);
    }
    bar.say("counting".into());
    // What the same prompt costs without and with the tokens that follow the first: the difference is theirs.
    let one = answer(engine, &prompt, 1)?;
    let many = answer(engine, &prompt, args.decode + 1)?;
    let peak_gpu_bytes = engine.gpu().memory().peak;
    let middle = args.depth + args.decode / 2;
    let mut profile = Vec::new();
    if args.profile {
        let longest = args.prefill.iter().copied().max().unwrap_or(args.depth);
        for step in [Step::Decode { position: middle }, Step::prefill(engine, longest)] {
            bar.say(format!("timing the kernels of {}", step.name()));
            profile.push(Profile::measure(engine, step, args.runs)?);
        }
    }
    drop(bar);

    let model = engine.model();
    Ok(Report {
        runs: args.runs,
        prefill,
        decode: Speed::new(args.decode, tok_s),
        depth: args.depth,
        dispatches_per_token: model.dispatches_per_token(middle),
        submits_per_token: many.submits.saturating_sub(one.submits) as f64 / f64::from(args.decode),
        bytes_read_per_token: model.bytes_read_per_token(middle),
        weight_bytes: model.weight_bytes(),
        readback_bytes_per_token: ReadbackRing::BYTES,
        tokens_in_flight: model.tokens_in_flight(),
        allocations_in_decode: many.allocations.saturating_sub(one.allocations),
        peak_gpu_bytes,
        profile,
        tuned_by: model.tuned_by(),
        tuning: model.tuning().clone(),
        attention: model.attention(),
        adapter: loaded.adapter().into(),
        tier: loaded.tier().into(),
        model: loaded.model,
    })
}

/// What one answer took.
struct Cost {
    timings: Timings,
    submits: u64,
    allocations: u64,
}

/// Reads what of the prompt is not in the cache and answers with exactly `tokens` tokens.
fn answer(engine: &mut Engine, prompt: &[u32], tokens: u32) -> Result<Cost, Failure> {
    let params =
        GenerateParams { max_tokens: Some(tokens), sampling: SamplingParams::greedy(), stop: Vec::new(), ignore_eos: true };
    let counters = |engine: &Engine| (engine.gpu().submits(), engine.gpu().memory().allocations);
    let before = counters(engine);
    let generation = block_on(engine.generate(prompt, &params, &mut |_, _| {}, &AbortSignal::new()))?;
    let after = counters(engine);
    Ok(Cost { timings: generation.timings, submits: after.0 - before.0, allocations: after.1 - before.1 })
}

/// Ids that look random and are always the same.
fn ids(count: u32, vocab: u32) -> Vec<u32> {
    let mut state = 0x2545_f491_u32;
    let next = || {
        // Marsaglia 2003: xorshift.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state % vocab
    };
    std::iter::repeat_with(next).take(count as usize).collect()
}

fn print(report: &Report) -> Result<(), Failure> {
    output::line(format_args!("{} on {} (tier {}), {} runs", report.model, report.adapter, report.tier, report.runs))?;
    output::line(format_args!("{:16} {:>12} {:>12}", "tok/s", "median", "minimum"))?;
    let speeds = report.prefill.iter().map(|speed| ("prefill", speed)).chain([("decode", &report.decode)]);
    for (what, Speed { tokens, median_tok_s, min_tok_s, .. }) in speeds {
        output::line(format_args!("{:16} {median_tok_s:>12.2} {min_tok_s:>12.2}", format!("{what} {tokens}")))?;
    }
    let counters = [
        ("dispatches per token", report.dispatches_per_token.to_string()),
        ("submits per token", format!("{:.2}", report.submits_per_token)),
        ("bytes read per token", format!("{} (weights {})", report.bytes_read_per_token, report.weight_bytes)),
        ("bytes read back per token", report.readback_bytes_per_token.to_string()),
        ("tokens in flight", report.tokens_in_flight.to_string()),
        ("allocations in decode", report.allocations_in_decode.to_string()),
        ("peak GPU memory", output::bytes(report.peak_gpu_bytes)),
    ];
    counters.into_iter().try_for_each(|(what, count)| output::line(format_args!("{what:28} {count}")))?;
    print_tuning(report.tuned_by, &report.tuning, report.attention)?;
    report.profile.iter().try_for_each(Profile::print)
}

fn print_tuning(by: TunedBy, tuning: &Tuning, attention: AttentionVariant) -> Result<(), Failure> {
    let start = ("others".to_owned(), tuning.start);
    let shapes =
        tuning.shapes.iter().map(|(shape, variants)| (format!("{} {} x {}", shape.format, shape.rows, shape.columns), *variants));
    output::line(format_args!("{:28} {}", "kernels chosen by", by.name()))?;
    shapes.chain([start]).try_for_each(|(shape, Variants { matvec, matmul })| {
        output::line(format_args!(
            "  {shape:26} matvec of {} x {} in {:?}, matmul {:?} of {} in {:?}",
            matvec.workgroup, matvec.spread, matvec.arithmetic, matmul.tiling, matmul.quads, matmul.arithmetic
        ))
    })?;
    output::line(format_args!(
        "  {:26} of many rows {:?}; of one, {} x 256 positions a workgroup",
        "attention", attention.tiling, attention.run
    ))
}

#[cfg(test)]
mod tests {
    use super::{Speed, ids};

    #[test]
    fn the_median_is_in_the_middle() {
        let speed = |tok_s: &[f64]| Speed::new(1, tok_s.to_vec());
        assert_eq!(speed(&[3.0, 1.0, 2.0]).median_tok_s, 2.0);
        assert_eq!(speed(&[4.0, 1.0, 2.0, 3.0]).median_tok_s, 2.5);
        assert_eq!(speed(&[4.0, 1.0]).min_tok_s, 1.0);
    }

    #[test]
    fn ids_are_fixed_and_in_the_vocabulary() {
        assert_eq!(ids(512, 100), ids(512, 100));
        assert!(ids(512, 100).iter().all(|id| *id < 100));
    }
}
