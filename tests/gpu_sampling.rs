//! Drawing tokens on the GPU: against the twin, against plain definitions of top-k, top-p and min-p, and as statistics.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
    pub mod weights;
}

use common::gpu::{Random, download, open, open_both, worst};
use common::weights::{Matrix, SORTS};
use kinglet::gpu::{Buffer, Gpu, Plan, Span};
use kinglet::kernels::{
    Finish, Format, Matvec, Next, Outcome, SamplePick, Sequence, Step, embed_reference, penalty_reference, philox_reference,
    sample_reference,
};
use kinglet::sampling::SamplingParams;

/// Everything off but the temperature.
const PLAIN: SamplingParams = SamplingParams { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 1.0, seed: 0 };

/// A sampler of fixed logits: an LM head that makes them of a row of ones, and picks.
struct Sampler<'a> {
    gpu: &'a Gpu,
    vocab: u32,
    logits: Buffer,
    sequence: Buffer,
    ids: Buffer,
    head: Plan,
    picks: Plan,
}

const SPAN: Span = Span { position: 0, rows: 1 };

/// Where the parts of a sequence are, in words.
const COUNT: usize = 11;
const HISTORY: usize = 12;
const SEEN: usize = HISTORY + Sequence::HISTORY;

impl<'a> Sampler<'a> {
    /// The padding of the logits is more than any logit, so that whoever reads it is found out.
    fn new(gpu: &'a Gpu, logits: &[f32], picks_a_run: usize) -> Self {
        let vocab = logits.len() as u32;
        let quads = vocab.div_ceil(4);
        // (vocab, 8) in F32: the logit, then zeros.
        let mut weights = vec![0f32; 32 * quads as usize];
        for id in 0..4 * quads as usize {
            weights[id / 4 * 32 + id % 4] = logits.get(id).copied().unwrap_or(3e38);
        }
        let weights = gpu.upload("logits as weights", &weights).unwrap();
        let x = gpu.upload("x", &[1f32, 0., 0., 0., 0., 0., 0., 0.]).unwrap();
        let logits = gpu.buffer("logits", 16 * u64::from(quads)).unwrap();
        let sequence = gpu.buffer("sequence", Sequence::bytes(vocab)).unwrap();
        let ids = gpu.buffer("ids", 16).unwrap();
        let finish = Finish::Logits { vocab, first: 0, partial_first: 0 };
        let product = Matvec {
            format: Format::F32,
            rows: vocab,
            k: 8,
            vectors: 1,
            x_stride: 8,
            norm: None,
            experts: None,
            variant: Default::default(),
            outcome: Outcome::PLAIN,
            finish,
        };
        let partials = gpu.buffer("partials", SamplePick::partials_bytes(product.workgroups())).unwrap();
        let [mut head, mut picks] = [Plan::default(), Plan::default()];
        let bindings = [&weights, &weights, &x, &sequence, &logits, &partials].map(Into::into);
        head.push(gpu, &product.dispatch(gpu.capabilities()), &bindings);
        let pick = SamplePick { vocab, partials: product.workgroups(), next: Next::Id };
        for _ in 0..picks_a_run {
            picks.push(gpu, &pick.dispatch(), &[&weights, &weights, &sequence, &logits, &partials, &ids].map(Into::into));
        }
        Self { gpu, vocab, logits, sequence, ids, head, picks }
    }

    fn begin(&self, params: &SamplingParams, step: Step, before: &[u32]) {
        params.validate().unwrap();
        self.gpu.write(&self.sequence, 0, bytemuck::bytes_of(&step));
        let answer = Sequence::answer(&params.gpu(), before, self.vocab);
        self.gpu.write(&self.sequence, Sequence::ANSWER_OFFSET, bytemuck::cast_slice(&answer));
    }

    /// One run of the picks, from draw number `drawn`.
    fn draw(&self, params: &SamplingParams, drawn: u32) -> Vec<u32> {
        let count = self.picks.len();
        assert!(count <= Sequence::HISTORY);
        self.begin(params, Step { position: 5, rows: 7, drawn, token: 0 }, &[]);
        self.gpu.run(&self.head, SPAN);
        self.gpu.run(&self.picks, SPAN);
        let sequence: Vec<u32> = download(self.gpu, &self.sequence);
        let step: Step = bytemuck::cast_slice(&sequence[..4])[0];
        let ids: Vec<u32> = download(self.gpu, &self.ids);
        let drawn_ids = sequence[HISTORY..][..count].to_vec();
        let last = drawn_ids[count - 1];
        // Seven rows of a prompt, then one a draw.
        assert_eq!(step, Step { position: 12 + count as u32 - 1, rows: 1, drawn: drawn + count as u32, token: last });
        assert_eq!((ids[0], sequence[COUNT]), (last, count as u32));
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
            // Repeated ones, and some that are no tokens at all.
            let ids: Vec<u32> = (0..tokens).map(|_| random.below(40) as u32 + 220).collect();
            let sampler = Sampler::new(&gpu, &logits, 1);
            let params = SamplingParams { repeat_penalty: 1.3, ..SamplingParams::greedy() };
            sampler.begin(&params, Step { position: 5, rows: 1, drawn: 0, token: 0 }, &ids);
            gpu.run(&sampler.head, SPAN);
            let actual: Vec<f32> = download(&gpu, &sampler.logits);
            let expected = penalty_reference(&logits, &ids[ids.len().saturating_sub(64)..], 1.3);
            for (id, expected) in expected.iter().enumerate() {
                assert!(
                    (actual[id] - expected).abs() <= expected.abs() * 3e-7,
                    "{tokens} tokens: id {id}, {} {expected}",
                    actual[id]
                );
            }
            // The best token is that of the penalized logits.
            gpu.run(&sampler.picks, SPAN);
            let best = sample_reference(&expected, &params.gpu(), 0);
            assert_eq!(download::<u32>(&gpu, &sampler.ids)[0], best, "{tokens} tokens");
        }
    }
}

#[test]
fn the_history_is_a_ring_and_its_bits_follow() {
    let gpu = open();
    // The draws take 37 while its logit leads, and every id of the prompt leaves the history when its turn comes.
    let mut logits = vec![0.0; 100];
    logits[37] = 1.0;
    let sampler = Sampler::new(&gpu, &logits, 3);
    let mut ids: Vec<u32> = (0..70).map(|i| i % 50).collect();
    ids[6] = 99;
    ids[7] = 99;
    for drawn in [0, 3, 6] {
        if drawn == 0 {
            sampler.begin(&SamplingParams::greedy(), Step { position: 5, rows: 1, drawn: 0, token: 0 }, &ids);
            gpu.run(&sampler.head, SPAN);
        }
        gpu.run(&sampler.picks, SPAN);
        ids.extend([37; 3]);
        let sequence: Vec<u32> = download(&gpu, &sampler.sequence);
        // Of a longer prompt only the remembered tokens are counted.
        assert_eq!(sequence[COUNT], 64 + drawn + 3);
        let recent = &ids[ids.len() - 64..];
        for id in 0..100u32 {
            let bit = sequence[SEEN + id as usize / 32] >> (id % 32) & 1 == 1;
            assert_eq!(bit, recent.contains(&id), "id {id} after {} draws", drawn + 3);
        }
        let mut remembered = sequence[HISTORY..][..64].to_vec();
        let mut expected = recent.to_vec();
        remembered.sort_unstable();
        expected.sort_unstable();
        assert_eq!(remembered, expected);
    }
}

#[test]
fn the_drawn_token_is_embedded_and_its_norm_prepared() {
    for gpu in open_both() {
        let mut random = Random(27);
        for format in SORTS {
            let (vocab, k, partials) = (45, 3 * format.block_columns(), 5);
            let table = Matrix::random(&gpu, &mut random, format, vocab, k);
            let norm_weight = random.vector(k as usize);
            let mut logits = vec![0.0; vocab as usize];
            let token = random.below(u64::from(vocab)) as u32;
            logits[token as usize] = 2.0;
            let sampler = Sampler::new(&gpu, &logits, 1);
            sampler.begin(&SamplingParams::greedy(), Step { position: 5, rows: 1, drawn: 0, token: 0 }, &[]);
            let weight = gpu.upload("norm weight", &norm_weight).unwrap();
            let residual = gpu.buffer("residual", 4 * u64::from(k)).unwrap();
            let weighted = gpu.upload("weighted", &vec![9f32; (k + 4 * partials) as usize]).unwrap();
            let head_partials = gpu.upload("partials", &[0x8000_0000 | 2f32.to_bits(), token, 0]).unwrap();
            let pick = SamplePick { vocab, partials: 1, next: Next::Embed { format, k, scale: 2.0, norm_partials: partials } };
            let bindings =
                [&table.quants, &table.scales, &sampler.sequence, &sampler.logits, &head_partials, &weight, &residual, &weighted];
            let mut plan = Plan::default();
            plan.push(&gpu, &pick.dispatch(), &bindings.map(Into::into));
            gpu.run(&plan, SPAN);
            let row = embed_reference(&table.values, &[token], k as usize, 2.0);
            let actual: Vec<f32> = download(&gpu, &residual);
            assert!(worst(&actual[..k as usize], &row) < 1e-6, "{format:?}");
            let after: Vec<f32> = download(&gpu, &weighted);
            let expected: Vec<f64> = row.iter().zip(&norm_weight).map(|(x, w)| x * f64::from(*w)).collect();
            assert!(worst(&after[..k as usize], &expected) < 1e-6, "{format:?}");
            let squares: f64 = row.iter().map(|x| x * x).sum();
            let sum: f64 = after[k as usize..][..4 * partials as usize].iter().map(|x| f64::from(*x)).sum();
            assert!((sum - squares).abs() < 1e-6 * squares, "{format:?}: {sum} instead of {squares}");
        }
    }
}
