//! Drawing tokens on the GPU: against the twin, against plain definitions of top-k, top-p and min-p, and as statistics.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
}

use common::gpu::{Random, download, open, open_both};
use kinglet::gpu::{Buffer, Gpu, Plan, Span};
use kinglet::kernels::{History, Penalty, SamplePick, SampleScan, Step, penalty_reference, philox_reference, sample_reference};
use kinglet::sampling::SamplingParams;

/// Everything off but the temperature.
const PLAIN: SamplingParams = SamplingParams { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 1.0, seed: 0 };

/// The sampler of one vocabulary, with its buffers.
struct Sampler<'a> {
    gpu: &'a Gpu,
    logits: Buffer,
    sampling: Buffer,
    step: Buffer,
    ids: Buffer,
    history: Buffer,
    scan: Plan,
    picks: Plan,
    penalty: Plan,
}

const SPAN: Span = Span { position: 0, rows: 1 };

impl<'a> Sampler<'a> {
    /// The padding of the logits is more than any logit, so that whoever reads it is found out.
    fn new(gpu: &'a Gpu, logits: &[f32], picks_a_run: usize) -> Self {
        let vocab = logits.len() as u32;
        let mut padded = logits.to_vec();
        padded.resize(logits.len().next_multiple_of(4), 3e38);
        let logits = gpu.upload("logits", &padded).unwrap();
        let sampling = gpu.buffer("sampling", 32).unwrap();
        let step = gpu.buffer("step", 16).unwrap();
        let ids = gpu.buffer("ids", 16).unwrap();
        let history = gpu.buffer("history", size_of::<History>() as u64).unwrap();
        let partials = gpu.buffer("partials", SampleScan::PARTIALS_BYTES).unwrap();
        let [mut scan, mut picks, mut penalty] = [Plan::default(), Plan::default(), Plan::default()];
        penalty.push(gpu, &Penalty { vocab }.dispatch(), &[&logits, &sampling, &history].map(Into::into));
        scan.push(gpu, &SampleScan { vocab }.dispatch(), &[&logits, &sampling, &partials].map(Into::into));
        for _ in 0..picks_a_run {
            let bindings = [&logits, &partials, &sampling, &step, &ids, &history].map(Into::into);
            picks.push(gpu, &SamplePick { vocab }.dispatch(), &bindings);
        }
        Self { gpu, logits, sampling, step, ids, history, scan, picks, penalty }
    }

    /// One run of the picks, from draw number `drawn`.
    fn draw(&self, params: &SamplingParams, drawn: u32) -> Vec<u32> {
        params.validate().unwrap();
        let count = self.picks.len();
        assert!(count <= History::LEN);
        self.gpu.write(&self.sampling, 0, bytemuck::bytes_of(&params.gpu()));
        self.gpu.write(&self.step, 0, bytemuck::bytes_of(&Step { position: 5, rows: 7, drawn, token: 0 }));
        self.gpu.write(&self.history, 0, bytemuck::bytes_of(&History::new(&[])));
        self.gpu.run(&self.scan, SPAN);
        self.gpu.run(&self.picks, SPAN);
        let history: Vec<u32> = download(self.gpu, &self.history);
        let step: Vec<Step> = download(self.gpu, &self.step);
        let ids: Vec<u32> = download(self.gpu, &self.ids);
        let drawn_ids = history[1..=count].to_vec();
        let last = drawn_ids[count - 1];
        // Seven rows of a prompt, then one a draw.
        assert_eq!(step[0], Step { position: 12 + count as u32 - 1, rows: 1, drawn: drawn + count as u32, token: last });
        assert_eq!((ids[0], history[0]), (last, count as u32));
        drawn_ids
    }

    fn draw_many(&self, params: &SamplingParams, runs: u32) -> Vec<u32> {
        (0..runs).flat_map(|run| self.draw(params, run * self.picks.len() as u32)).collect()
    }
}

/// Logits as a model's: a few tokens far above a wide field.
fn logits(random: &mut Random, vocab: usize) -> Vec<f32> {
    (0..vocab)
        .map(|_| {
            let field: f32 = (0..4).map(|_| random.signed()).sum::<f32>() * 2.0;
            if random.below(200) == 0 { field + 8.0 + 4.0 * random.signed() } else { field }
        })
        .collect()
}

/// What remains of a distribution after top-k, top-p and min-p, by their plain definitions, and how near a limit came to a token.
fn remaining(logits: &[f32], params: &SamplingParams) -> (Vec<(usize, f64)>, f64) {
    let peak = logits.iter().fold(f64::NEG_INFINITY, |peak, &l| peak.max(f64::from(l)));
    let weights: Vec<f64> = logits.iter().map(|&l| ((f64::from(l) - peak) / f64::from(params.temperature)).exp()).collect();
    let mut order: Vec<(usize, f64)> = weights.into_iter().enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut margin = f64::INFINITY;
    if params.top_k > 0 {
        order.truncate(params.top_k as usize);
    }
    if params.top_p < 1.0 {
        let total: f64 = order.iter().map(|(_, weight)| weight).sum();
        let mut sum = 0.0;
        let mut kept = 0;
        while kept < order.len() && sum < f64::from(params.top_p) {
            sum += order[kept].1 / total;
            margin = margin.min((sum - f64::from(params.top_p)).abs());
            kept += 1;
        }
        order.truncate(kept.max(1));
    }
    for (_, weight) in &order {
        margin = margin.min((weight - f64::from(params.min_p)).abs());
    }
    order.retain(|(_, weight)| *weight >= f64::from(params.min_p));
    let total: f64 = order.iter().map(|(_, weight)| weight).sum();
    order.iter_mut().for_each(|(_, weight)| *weight /= total);
    (order, margin)
}

const VOCABULARIES: [usize; 7] = [1, 3, 255, 257, 49_152, 151_937, 262_144];

/// The limits alone and together; top-k beyond 128 takes the way over the whole vocabulary, as top-p without top-k does.
fn settings(seed: u64) -> Vec<SamplingParams> {
    let plain = SamplingParams { seed, ..PLAIN };
    vec![
        plain,
        SamplingParams { temperature: 3.0, ..plain },
        SamplingParams { temperature: 0.01, ..plain },
        SamplingParams { top_k: 1, ..plain },
        SamplingParams { top_k: 40, ..plain },
        SamplingParams { top_k: 200, temperature: 2.0, ..plain },
        SamplingParams { top_k: 300, temperature: 2.0, ..plain },
        SamplingParams { top_p: 0.9, ..plain },
        SamplingParams { top_p: 0.0, ..plain },
        SamplingParams { top_p: 0.6, temperature: 2.0, ..plain },
        SamplingParams { min_p: 0.1, ..plain },
        SamplingParams { min_p: 1.0, ..plain },
        SamplingParams { top_k: 1000, top_p: 0.8, min_p: 0.01, ..plain },
        SamplingParams { top_k: 40, top_p: 0.8, min_p: 0.02, temperature: 1.5, ..plain },
        SamplingParams { seed, ..SamplingParams::default() },
    ]
}

#[test]
fn greedy_takes_the_lowest_id_of_the_greatest() {
    for gpu in open_both() {
        let mut random = Random(20);
        for vocab in VOCABULARIES {
            let mut logits = logits(&mut random, vocab);
            let ties: Vec<usize> = (0..4).map(|_| random.below(vocab as u64) as usize).collect();
            ties.iter().for_each(|&id| logits[id] = 50.0);
            let sampler = Sampler::new(&gpu, &logits, 1);
            let lowest = *ties.iter().min().unwrap() as u32;
            assert_eq!(sampler.draw(&SamplingParams::greedy(), 3), [lowest], "{vocab} tokens");
        }
        // Negative numbers only, and zeros of both signs.
        assert_eq!(Sampler::new(&gpu, &[-3.0, -1.5, -2.0, -1.5, -1e30], 1).draw(&SamplingParams::greedy(), 0), [1]);
        assert_eq!(Sampler::new(&gpu, &[-1e-30, -0.0, 0.0], 1).draw(&SamplingParams::greedy(), 0), [1]);
    }
}

#[test]
fn the_twin_draws_the_same_tokens() {
    for gpu in open_both() {
        let mut random = Random(21);
        for vocab in VOCABULARIES {
            let logits = logits(&mut random, vocab);
            let sampler = Sampler::new(&gpu, &logits, 2);
            for params in settings(random.bits()) {
                let drawn = random.below(1000) as u32;
                let expected = [0, 1].map(|i| sample_reference(&logits, &params.gpu(), drawn + i));
                assert_eq!(sampler.draw(&params, drawn), expected, "{vocab} tokens, {params:?} on {}", gpu.info().name);
            }
        }
    }
}

#[test]
fn ties_at_a_limit_go_to_the_lowest_ids() {
    let gpu = open();
    // Ids 1, 3, 5, … are equal and the most probable; every limit ends among them. The second vocabulary is too large to be gathered.
    for (vocab, kept) in [(200, 10), (20_000, 100)] {
        let logits: Vec<f32> = (0..vocab).map(|id| if id % 2 == 1 { 3.0 } else { -30.0 }).collect();
        let sampler = Sampler::new(&gpu, &logits, 64);
        let share = (f64::from(kept) - 0.5) / f64::from(vocab / 2);
        let by_number = SamplingParams { top_k: kept as u32, ..PLAIN };
        let by_mass = SamplingParams { top_p: share as f32, ..PLAIN };
        for params in [by_number, by_mass] {
            let mut seen = sampler.draw_many(&params, 8);
            assert!(seen.iter().all(|&id| id % 2 == 1 && id < 2 * kept as u32), "{vocab} tokens, {params:?}: {seen:?}");
            seen.sort_unstable();
            seen.dedup();
            assert!(seen.len() > kept as usize * 9 / 10, "{vocab} tokens, {params:?}: only {} tokens of {kept}", seen.len());
        }
    }
}

#[test]
fn the_kept_tokens_are_those_of_the_definitions() {
    let gpu = open();
    let mut random = Random(22);
    // Nearly flat, so that every kept token shows up in 512 draws.
    for vocab in [2, 13] {
        let logits: Vec<f32> = (0..vocab).map(|_| 0.5 * random.signed()).collect();
        let sampler = Sampler::new(&gpu, &logits, 64);
        for params in settings(random.bits()).into_iter().filter(|params| params.temperature >= 0.8) {
            let (expected, margin) = remaining(&logits, &params);
            if margin < 1e-6 {
                continue;
            }
            let mut expected: Vec<u32> = expected.iter().map(|(id, _)| *id as u32).collect();
            expected.sort_unstable();
            let mut seen = sampler.draw_many(&params, 8);
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, expected, "{vocab} tokens, {params:?}");
        }
    }
}

#[test]
fn the_last_kept_token_is_the_one_that_the_definitions_name() {
    let gpu = open();
    let mut random = Random(23);
    // Seeds whose first number is nearly 1 draw the highest of the kept ids: with falling logits, the least probable token that is kept.
    let high = (0..u64::MAX).find(|&seed| philox_reference(0, seed as u32, (seed >> 32) as u32) > u32::MAX - 20_000).unwrap();
    let mut compared = 0;
    for vocab in [300, 5_000, 151_937] {
        let mut logits = logits(&mut random, vocab);
        logits.sort_by(|a, b| b.total_cmp(a));
        let sampler = Sampler::new(&gpu, &logits, 1);
        for params in settings(high) {
            let (expected, margin) = remaining(&logits, &params);
            let last = expected.last().unwrap();
            if margin > 1e-6 && last.1 > 1e-5 {
                assert_eq!(sampler.draw(&params, 0), [last.0 as u32], "{vocab} tokens, {params:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 20, "only {compared} settings could be compared");
}

#[test]
fn frequencies_follow_the_probabilities() {
    let gpu = open();
    let mut random = Random(24);
    let vocab = 12;
    let logits: Vec<f32> = (0..vocab).map(|_| 1.5 * random.signed()).collect();
    let sampler = Sampler::new(&gpu, &logits, 1);
    let plain = SamplingParams { temperature: 0.9, ..PLAIN };
    let limited = SamplingParams { top_k: 8, top_p: 0.9, ..plain };
    // One draw each of many seeds, as many short answers would be; and one long answer of a single seed.
    for params in [plain, limited] {
        let ids: Vec<u32> = (0..4000).map(|seed| sample_seed(&sampler, &logits, &params, seed)).collect();
        check_frequencies(&logits, &params, &ids);
    }
    let long = Sampler::new(&gpu, &logits, 64).draw_many(&SamplingParams { seed: 77, ..limited }, 63);
    check_frequencies(&logits, &limited, &long);
}

fn check_frequencies(logits: &[f32], params: &SamplingParams, ids: &[u32]) {
    let (expected, _) = remaining(logits, params);
    let draws = ids.len() as f64;
    let square: f64 = expected
        .iter()
        .map(|(id, probability)| {
            let count = ids.iter().filter(|drawn| **drawn as usize == *id).count() as f64;
            (count - draws * probability).powi(2) / (draws * probability)
        })
        .sum();
    // The 99.9 % point of chi-square with 11 degrees of freedom.
    assert!(square < 31.3, "chi-square {square} over {} tokens: {params:?}", expected.len());
}

/// The token of draw 0 with this seed. The GPU is asked for one seed in 20, the twin for all.
fn sample_seed(sampler: &Sampler<'_>, logits: &[f32], params: &SamplingParams, seed: u64) -> u32 {
    let params = SamplingParams { seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), ..*params };
    let token = sample_reference(logits, &params.gpu(), 0);
    if seed.is_multiple_of(20) {
        assert_eq!(sampler.draw(&params, 0), [token], "{params:?}");
    }
    token
}

#[test]
fn seed_and_counter_decide_everything() {
    let gpu = open();
    let logits = logits(&mut Random(25), 257);
    let sampler = Sampler::new(&gpu, &logits, 64);
    let params = SamplingParams { temperature: 2.0, seed: 5, ..PLAIN };
    let first = sampler.draw(&params, 0);
    assert_eq!(first, sampler.draw(&params, 0));
    assert_ne!(first, sampler.draw(&params, 64));
    assert_ne!(first, sampler.draw(&SamplingParams { seed: 6, ..params }, 0));
    assert_ne!(first, sampler.draw(&SamplingParams { seed: 5 | 1 << 32, ..params }, 0));
    assert_eq!(first[1..], sampler.draw(&params, 1)[..63]);
}

#[test]
fn philox_gives_the_published_numbers() {
    // Random123's known answers for philox4x32-10.
    assert_eq!(philox_reference(0, 0, 0), 0x6627_e8d5);
}

#[test]
fn logits_that_are_not_numbers() {
    let gpu = open();
    let cases: [(&str, Vec<f32>, &[u32]); 6] = [
        ("all NaN", vec![f32::NAN; 1001], &[0]),
        ("all -inf", vec![f32::NEG_INFINITY; 1001], &[0]),
        ("NaN and -inf", [f32::NAN, f32::NEG_INFINITY, f32::NAN].repeat(7), &[1]),
        ("one number", [vec![f32::NAN; 700], vec![-9.0], vec![f32::NEG_INFINITY; 600]].concat(), &[700]),
        ("+inf twice", [vec![1.0; 5], vec![f32::INFINITY], vec![f32::NAN; 300], vec![f32::INFINITY]].concat(), &[5, 306]),
        ("the whole range", [vec![f32::MIN; 400], vec![f32::MAX], vec![f32::MIN; 400]].concat(), &[400]),
    ];
    for (name, logits, allowed) in cases {
        let sampler = Sampler::new(&gpu, &logits, 4);
        assert_eq!(sampler.draw(&SamplingParams::greedy(), 0)[0], allowed[0], "{name}");
        for params in settings(1) {
            let drawn = sampler.draw(&params, 0);
            assert!(drawn.iter().all(|id| allowed.contains(id)), "{name}: {drawn:?} with {params:?}");
        }
    }
}

#[test]
fn penalty_counts_each_token_once() {
    for gpu in open_both() {
        let mut random = Random(26);
        let logits = logits(&mut random, 257);
        for tokens in [0, 1, 5, 63, 64, 65, 200] {
            // Repeated ones, and one that is no token at all.
            let ids: Vec<u32> = (0..tokens).map(|_| random.below(40) as u32 + 220).collect();
            let sampler = Sampler::new(&gpu, &logits, 1);
            let params = SamplingParams { repeat_penalty: 1.3, ..SamplingParams::greedy() };
            let history = History::new(&ids);
            gpu.write(&sampler.sampling, 0, bytemuck::bytes_of(&params.gpu()));
            gpu.write(&sampler.history, 0, bytemuck::bytes_of(&history));
            gpu.run(&sampler.penalty, SPAN);
            let actual: Vec<f32> = download(&gpu, &sampler.logits);
            let expected = penalty_reference(&logits, &ids[ids.len().saturating_sub(64)..], 1.3);
            for (id, expected) in expected.iter().enumerate() {
                assert!(
                    (actual[id] - expected).abs() <= expected.abs() * 3e-7,
                    "{tokens} tokens: id {id}, {} {expected}",
                    actual[id]
                );
            }
            assert!(actual[logits.len()..][..3].iter().all(|l| *l == 3e38), "the padding was changed");
        }
    }
}

#[test]
fn the_history_is_a_ring() {
    let gpu = open();
    let sampler = Sampler::new(&gpu, &[0.0, 1.0], 3);
    sampler.gpu.write(&sampler.sampling, 0, bytemuck::bytes_of(&SamplingParams::greedy().gpu()));
    sampler.gpu.write(&sampler.history, 0, bytemuck::bytes_of(&History { count: 127, ids: [9; 64] }));
    sampler.gpu.run(&sampler.scan, SPAN);
    sampler.gpu.run(&sampler.picks, SPAN);
    let history: Vec<u32> = download(&gpu, &sampler.history);
    assert_eq!(history[0], 130);
    assert_eq!((history[1], history[2], history[3], history[63], history[64]), (1, 1, 9, 9, 1));
}
