//! Golden numbers of a real model: what other programs made of a prompt (tests/golden, tests/oracle).

#![allow(dead_code, reason = "every test uses its own part")]

use kinglet::engine::{AbortSignal, Engine, GenerateParams, LoadOptions};
use kinglet::gpu::Gpu;
use kinglet::sampling::SamplingParams;
use kinglet::text::Message;
use kinglet::weights::source::FileSource;
use pollster::block_on;
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
pub struct Run {
    #[serde(default)]
    pub prompt: String,
    pub messages: Option<Vec<Message>>,
    #[serde(default)]
    pub prompt_ids: Vec<u32>,
    pub top5_last_prompt: Vec<Candidate>,
    pub logits_stats: Stats,
    pub logits_first16: Vec<f32>,
    pub greedy_ids: Vec<u32>,
    #[serde(default)]
    pub greedy_text: String,
    /// How far the best logit of each greedy step is above the second.
    pub top1_top2_margin: Vec<f32>,
}

#[derive(Deserialize)]
pub struct Candidate {
    pub id: u32,
    pub logit: f32,
}

#[derive(Deserialize)]
pub struct Stats {
    pub sum: f64,
    pub l2: f64,
    pub min: f32,
    pub max: f32,
}

impl Run {
    /// Greedy steps before the first whose margin is below `least`.
    pub fn certain_steps(&self, least: f32) -> usize {
        self.top1_top2_margin.iter().take_while(|margin| **margin >= least).count()
    }

    /// The largest difference of `logits` from what is recorded. The sum and the length of the whole row count as what they bound: the mean
    /// and the root mean square difference.
    pub fn difference(&self, logits: &[f32]) -> f64 {
        let size = logits.len() as f64;
        let sum: f64 = logits.iter().map(|logit| f64::from(*logit)).sum();
        let squares: f64 = logits.iter().map(|logit| f64::from(*logit).powi(2)).sum();
        let min = logits.iter().copied().fold(f32::INFINITY, f32::min);
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut differences = vec![(sum - self.logits_stats.sum) / size, (squares.sqrt() - self.logits_stats.l2) / size.sqrt()];
        let mut compare = |actual: f32, expected: f32| differences.push(f64::from(actual) - f64::from(expected));
        compare(min, self.logits_stats.min);
        compare(max, self.logits_stats.max);
        logits.iter().zip(&self.logits_first16).for_each(|(actual, expected)| compare(*actual, *expected));
        self.top5_last_prompt.iter().for_each(|best| compare(logits[best.id as usize], best.logit));
        differences
            .iter()
            .fold(0.0, |most: f64, difference| if difference.is_nan() { f64::INFINITY } else { most.max(difference.abs()) })
    }

    /// With an f32 KV cache the arithmetic is the golden's: logits within 2e-3, and the greedy ids up to a step that is as good as a tie.
    #[track_caller]
    pub fn check_f32(&self, engine: &mut Engine, name: &str) {
        let off = self.difference(&last_logits(engine, &self.prompt_ids));
        eprintln!("{name}, f32 KV: logits off by {off:.1e}");
        assert!(off <= 2e-3, "{name}: logits off by {off}");
        let steps = self.certain_steps(1e-3);
        assert_eq!(generate(engine, &self.prompt_ids, steps, greedy()), self.greedy_ids[..steps], "{name}");
    }

    /// With an f16 KV cache: logits within 0.05, and every greedy step of the golden whose margin is at least 0.1, given the golden's ids
    /// before.
    #[track_caller]
    pub fn check_f16(&self, engine: &mut Engine, name: &str) {
        const CERTAIN: f32 = 0.1;
        let start = self.prompt_ids.len() - 1;
        let mut walk = self.prompt_ids.clone();
        walk.extend(&self.greedy_ids[..self.greedy_ids.len() - 1]);
        let mut off = f64::INFINITY;
        let mut other = Vec::new();
        let mut compare = |position: usize, row: &[f32]| {
            if position == start {
                off = self.difference(row);
            }
            let Some(step) = position.checked_sub(start) else { return };
            let (margin, found, expected) = (self.top1_top2_margin[step], best(row), self.greedy_ids[step]);
            if margin >= CERTAIN && found != expected {
                other.push(format!("step {step}: {found}, not {expected} (margin {margin})"));
            }
        };
        block_on(engine.logits(&walk, &mut compare)).expect("logits");
        eprintln!("{name}, f16 KV: logits off by {off:.1e}");
        assert!(off <= 0.05, "{name}: logits off by {off}");
        assert!(other.is_empty(), "{name}: {}", other.join("; "));

        // The walk reads rows as prefill does; these steps are decode's.
        let steps = self.certain_steps(CERTAIN);
        assert_eq!(generate(engine, &self.prompt_ids, steps, greedy()), self.greedy_ids[..steps], "{name}");
    }
}

/// A model from a file.
pub fn load(gpu: Gpu, path: &Path, options: LoadOptions) -> Engine {
    let mut source = FileSource::open(path).expect("the file opens");
    block_on(Engine::load(gpu, &mut source, options, &mut |_| {}, &AbortSignal::new())).expect("the model loads")
}

/// The ids that come after `prompt`, from an empty cache and past end-of-generation tokens.
pub fn generate(engine: &mut Engine, prompt: &[u32], count: usize, sampling: SamplingParams) -> Vec<u32> {
    engine.reset();
    let params = GenerateParams { max_tokens: Some(count as u32), sampling, stop: Vec::new(), ignore_eos: true };
    block_on(engine.generate(prompt, &params, &mut |_, _| {}, &AbortSignal::new())).expect("an answer").ids
}

pub fn greedy() -> SamplingParams {
    SamplingParams { temperature: 0.0, ..Default::default() }
}

pub fn last_logits(engine: &mut Engine, ids: &[u32]) -> Vec<f32> {
    let mut last = Vec::new();
    let mut keep = |position: usize, row: &[f32]| {
        if position + 1 == ids.len() {
            last = row.to_vec();
        }
    };
    block_on(engine.logits(ids, &mut keep)).expect("logits");
    last
}

pub fn best(logits: &[f32]) -> u32 {
    (1..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best }) as u32
}
