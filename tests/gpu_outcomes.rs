//! What products go through before they are put away: bias, factor, soft cap, activation, in each of the places that they go to.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
    pub mod placed;
    pub mod weights;
}

use common::gpu::{Random, download, open_both, run, worst};
use common::placed::Placed;
use common::weights::Matrix;
use kinglet::gpu::{Binding, Buffer, Dispatch, Gpu, Plan, Span};
use kinglet::kernels::{
    Activation, Embed, Finish, Format, Gated, KvType, Matmul, Matvec, Next, Outcome, RopeKv, SamplePick, Sequence, Step,
    bias_offset, embed_reference, gated_reference, matvec_reference, rope_turns,
};
use kinglet::sampling::SamplingParams;

/// What a kernel must neither read nor write.
const UNTOUCHED: f32 = 1e30;

const ACTIVATIONS: [Activation; 4] = [Activation::Identity, Activation::Silu, Activation::Gelu, Activation::ReluSquared];

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn step(gpu: &Gpu, span: Span) -> Buffer {
    gpu.upload("step", &[Step { position: span.position, rows: span.rows, drawn: 0, token: 0 }]).unwrap()
}

/// One after the other with and without each part.
fn outcomes() -> Vec<Outcome> {
    ACTIVATIONS
        .into_iter()
        .zip([(true, 0.25, 0.0), (true, 1.0, 0.0), (false, 3.0, 1.5), (true, -0.5, 2.0)])
        .flat_map(|(activation, (bias, scale, soft_cap))| {
            let outcome = Outcome { bias, scale, soft_cap, activation };
            [outcome, Outcome { bias: !bias, soft_cap: 0.0, ..outcome }]
        })
        .chain([Outcome::PLAIN])
        .collect()
}

/// A matrix in two shards, the second of an odd number of rows, and its bias.
struct Case {
    shards: Vec<(u32, u32, Matrix)>,
    rows: u32,
    k: u32,
    bias: Vec<f32>,
}

impl Case {
    const FORMAT: Format = Format::Q8_0;

    fn random(gpu: &Gpu, random: &mut Random, split: u32, rows: u32, k: u32) -> Self {
        let shards = [(0, split), (split, rows - split)].into_iter().filter(|(_, rows)| *rows > 0);
        let shards = shards.map(|(first, rows)| (first, rows, Matrix::random(gpu, random, Self::FORMAT, rows, k))).collect();
        Self { shards, rows, k, bias: random.vector(rows as usize) }
    }

    /// What comes of it for rows of x, (x, rows).
    fn expected(&self, outcome: &Outcome, x: &[f32]) -> Vec<f64> {
        let values: Vec<f64> = self.shards.iter().flat_map(|(_, _, matrix)| matrix.values.clone()).collect();
        let products = matvec_reference(&values, &wide(x), self.rows as usize, self.k as usize);
        let bias = self.bias.iter().cycle();
        products.iter().zip(bias).map(|(y, bias)| outcome.reference(*y, f64::from(*bias))).collect()
    }

    fn dispatch(&self, gpu: &Gpu, rows: u32, tokens: u32, outcome: Outcome, finish: Finish) -> (Dispatch, u32) {
        let (format, k) = (Self::FORMAT, self.k);
        let matvec = Matvec {
            format,
            rows,
            k,
            vectors: tokens.min(8),
            x_stride: k,
            norm: None,
            experts: None,
            variant: Default::default(),
            outcome,
            finish,
        };
        if tokens <= 8 {
            return (matvec.dispatch(gpu.capabilities()), matvec.workgroups());
        }
        (
            Matmul { format, rows, k, x_stride: k, tile_tokens: 32, experts: None, variant: Default::default(), outcome, finish }
                .dispatch(gpu.capabilities()),
            0,
        )
    }
}

#[test]
fn stored() {
    for gpu in open_both() {
        let mut random = Random(51);
        for (i, outcome) in outcomes().into_iter().enumerate() {
            let shapes = [(0, 1, 32, 1), (8, 21, 64, 3), (64, 131, 96, 33)];
            for (split, rows, k, tokens) in [shapes[i % 3], shapes[2]] {
                let case = Case::random(&gpu, &mut random, split, rows, k);
                let x = random.vector((tokens * k) as usize);
                let (y_stride, accumulate) = (rows.next_multiple_of(4) + 4, i % 2 == 1);
                let before: Vec<f32> = random.vector((tokens * y_stride) as usize).iter().map(|y| 2.0 * y).collect();
                let span = Span { position: 4, rows: tokens };
                let [x_buffer, bias, y] = [&x, &case.bias, &before].map(|values| gpu.upload("values", values).unwrap());
                let (step, mut plan) = (step(&gpu, span), Plan::default());
                for (first, rows, matrix) in &case.shards {
                    let finish = Finish::Store { y_stride, y_first: *first, accumulate };
                    let (dispatch, _) = case.dispatch(&gpu, *rows, tokens, outcome, finish);
                    let mut bindings: Vec<Binding> =
                        [&matrix.quants, &matrix.scales, &x_buffer, &step, &y].map(Buffer::whole).into();
                    bindings.extend(outcome.bias.then(|| bias.whole()));
                    plan.push(&gpu, &dispatch, &bindings);
                }
                gpu.run(&plan, span);
                let after: Vec<f32> = download(&gpu, &y);
                let mut expected = case.expected(&outcome, &x);
                let mut actual = Vec::new();
                for (token, (after, before)) in
                    after.chunks_exact(y_stride as usize).zip(before.chunks_exact(y_stride as usize)).enumerate()
                {
                    actual.extend_from_slice(&after[..rows as usize]);
                    let padded = rows.next_multiple_of(4) as usize;
                    assert!(after[padded..] == before[padded..], "{outcome:?}, {rows} x {k}, token {token}: wrote outside");
                    if accumulate {
                        let own = &mut expected[token * rows as usize..];
                        own.iter_mut().zip(&before[..rows as usize]).for_each(|(y, before)| *y += f64::from(*before));
                    }
                }
                let error = worst(&actual, &expected);
                let on = &gpu.info().name;
                assert!(error < 5e-6, "{outcome:?} of {rows} x {k}, {tokens} tokens on {on}: error {error}");
            }
        }
    }
}

#[test]
fn on_the_residual_stream() {
    for gpu in open_both() {
        let mut random = Random(52);
        for outcome in outcomes().into_iter().step_by(2) {
            let (split, rows, k) = (64, 136, 64);
            let case = Case::random(&gpu, &mut random, split, rows, k);
            let [x, before, weight] = [k, rows, rows].map(|n| random.vector(n as usize));
            let [x_buffer, bias, y, weight_buffer] =
                [&x, &case.bias, &before, &weight].map(|values| gpu.upload("values", values).unwrap());
            let weighted = gpu.upload("weighted", &vec![UNTOUCHED; rows as usize + 4 * 20]).unwrap();
            let span = Span { position: 4, rows: 1 };
            let (step, mut plan, mut partial_first) = (step(&gpu, span), Plan::default(), 0);
            for (first, shard_rows, matrix) in &case.shards {
                let finish = Finish::Residual { k: rows, first: *first, weighted_stride: 0, partial_first };
                let (dispatch, workgroups) = case.dispatch(&gpu, *shard_rows, 1, outcome, finish);
                partial_first += workgroups;
                let bindings = [&matrix.quants, &matrix.scales, &x_buffer, &step, &y, &weight_buffer, &weighted];
                let mut bindings: Vec<Binding> = bindings.map(Buffer::whole).into();
                bindings.extend(outcome.bias.then(|| bias.whole()));
                plan.push(&gpu, &dispatch, &bindings);
            }
            gpu.run(&plan, span);
            let [after, prepared]: [Vec<f32>; 2] = [&y, &weighted].map(|buffer| download(&gpu, buffer));
            let rows = rows as usize;
            let expected: Vec<f64> = case.expected(&outcome, &x).iter().zip(&before).map(|(y, b)| y + f64::from(*b)).collect();
            let error = worst(&after[..rows], &expected);
            assert!(error < 5e-6, "{outcome:?} on {}: error {error}", gpu.info().name);
            let expected: Vec<f64> = after.iter().zip(&weight).map(|(y, w)| f64::from(*y) * f64::from(*w)).collect();
            assert!(worst(&prepared[..rows], &expected[..rows]) < 1e-6, "{outcome:?}: the next norm's row");
            let end = rows + 4 * partial_first as usize;
            let squares: f64 = wide(&after[..rows]).iter().map(|y| y * y).sum();
            let sum: f64 = wide(&prepared[rows..end]).iter().sum();
            assert!((sum - squares).abs() < 1e-6 * squares, "{outcome:?}: {sum} instead of {squares}");
            assert!(prepared[end..].iter().all(|y| *y == UNTOUCHED), "{outcome:?} wrote behind its sums");
        }
    }
}

/// The token that is drawn is the greatest after bias and soft cap, in the shard where it is.
#[test]
fn logits() {
    for gpu in open_both() {
        let mut random = Random(53);
        for outcome in outcomes().into_iter().step_by(2) {
            let (split, vocab, k) = (64, 197, 32);
            let mut case = Case::random(&gpu, &mut random, split, vocab, k);
            let winner = random.below(u64::from(vocab)) as usize;
            case.bias[winner] = if outcome.scale < 0.0 { -60.0 } else { 60.0 };
            let x = random.vector(k as usize);
            let logits = gpu.buffer("logits", 4 * u64::from(vocab.next_multiple_of(4))).unwrap();
            let sequence = gpu.buffer("sequence", Sequence::bytes(vocab)).unwrap();
            gpu.write(&sequence, 0, bytemuck::bytes_of(&Step { position: 4, rows: 1, drawn: 0, token: 0 }));
            let greedy = SamplingParams { temperature: 0.0, repeat_penalty: 1.0, ..Default::default() };
            gpu.write(&sequence, Sequence::ANSWER_OFFSET, bytemuck::cast_slice(&Sequence::answer(&greedy.gpu(), &[], vocab)));
            let partials = gpu.buffer("partials", SamplePick::partials_bytes(vocab)).unwrap();
            let [x_buffer, bias] = [&x, &case.bias].map(|values| gpu.upload("values", values).unwrap());
            let ids = gpu.buffer("ids", 16).unwrap();
            let (mut plan, mut partial_first) = (Plan::default(), 0);
            for (first, rows, matrix) in &case.shards {
                let finish = Finish::Logits { vocab, first: *first, partial_first };
                let (dispatch, workgroups) = case.dispatch(&gpu, *rows, 1, outcome, finish);
                partial_first += workgroups;
                let bindings = [&matrix.quants, &matrix.scales, &x_buffer, &sequence, &logits, &partials];
                let mut bindings: Vec<Binding> = bindings.map(Buffer::whole).into();
                bindings.extend(outcome.bias.then(|| bias.whole()));
                plan.push(&gpu, &dispatch, &bindings);
            }
            let pick = SamplePick { vocab, partials: partial_first, next: Next::Id };
            plan.push(&gpu, &pick.dispatch(), &[&bias, &bias, &sequence, &logits, &partials, &ids].map(Buffer::whole));
            gpu.run(&plan, Span { position: 4, rows: 1 });
            let after: Vec<f32> = download(&gpu, &logits);
            let expected = case.expected(&outcome, &x);
            let error = worst(&after[..vocab as usize], &expected);
            assert!(error < 5e-6, "{outcome:?} on {}: error {error}", gpu.info().name);
            let greatest = (0..vocab).rev().max_by(|a, b| after[*a as usize].total_cmp(&after[*b as usize])).unwrap();
            assert_eq!(download::<u32>(&gpu, &ids)[0], greatest, "{outcome:?}");
            // Where a soft cap or a square makes others equal, the lowest of them is drawn.
            if outcome.bias && outcome.soft_cap == 0.0 && outcome.activation != Activation::ReluSquared {
                assert_eq!(greatest as usize, winner, "{outcome:?}: the bias is not where it should be");
            }
        }
    }
}

#[test]
fn turned_and_put_away_with_a_bias_behind_the_turns() {
    for gpu in open_both() {
        let mut random = Random(54);
        for (i, [heads, kv_heads, head_dim, rope_dims]) in [[3, 1, 64, 64], [4, 2, 16, 6], [1, 1, 8, 0]].into_iter().enumerate() {
            for tokens in [[1, 17], [3, 17], [1, 3]][i] {
                let (context, capacity, kv_type) = (100, 20, KvType::PLAIN[i % 2]);
                let temperature = Some((0.5, 10));
                let attention_factor = 1.1;
                let heads = RopeKv {
                    heads,
                    kv_heads,
                    head_dim,
                    rope_dims,
                    attention_factor,
                    temperature,
                    context,
                    capacity,
                    first: 0,
                    kv_type,
                };
                let rows = (heads.heads + 2 * heads.kv_heads) * head_dim;
                let case = Case::random(&gpu, &mut random, heads.heads * head_dim, rows, 64);
                let outcome = Outcome { bias: true, ..Outcome::PLAIN };
                let freqs: Vec<f64> = (0..rope_dims / 2).map(|i| 0.7f64.powi(i as i32)).collect();
                let mut turns = rope_turns(&freqs);
                assert_eq!(4 * turns.len() as u64, bias_offset(rope_dims));
                turns.extend(case.bias.iter().map(|bias| bias.to_bits()));
                let x = random.vector((tokens * case.k) as usize);
                let span = Span { position: random.below(83) as u32, rows: tokens };
                let placed = Placed::new(&gpu, &heads, tokens);
                let (step, turns) = (step(&gpu, span), gpu.upload("turns", &turns).unwrap());
                let (x_buffer, mut plan) = (gpu.upload("x", &x).unwrap(), Plan::default());
                for (first, rows, matrix) in &case.shards {
                    let (dispatch, _) = case.dispatch(&gpu, *rows, tokens, outcome, Finish::RopeKv { heads, first: *first });
                    let bindings = [&matrix.quants, &matrix.scales, &x_buffer, &step, &turns, &placed.q, &placed.k, &placed.v];
                    plan.push(&gpu, &dispatch, &bindings.map(Buffer::whole));
                }
                gpu.run(&plan, span);
                let expected = case.expected(&outcome, &x);
                let expected: Vec<Vec<f64>> = (span.position..)
                    .zip(expected.chunks_exact(rows as usize))
                    .map(|(position, row)| heads.reference(row, position, &freqs))
                    .collect();
                placed.check(&gpu, &heads, span, &expected, 2e-5);
            }
        }
    }
}

#[test]
fn gated_units_of_every_activation() {
    for gpu in open_both() {
        let mut random = Random(55);
        for activation in ACTIVATIONS {
            for tokens in [1, 40] {
                // W has quads of gate and of up by turns, in two shards.
                let (ff, k) = (44, 64);
                let case = Case::random(&gpu, &mut random, 32, 2 * ff, k);
                let x = random.vector((tokens * k) as usize);
                let weights: Vec<[u32; 2]> = (0..tokens).map(|_| [0, random.signed().to_bits()]).collect();
                let product = case.expected(&Outcome::PLAIN, &x);
                let pick = |first: usize| product.chunks_exact(8).flat_map(move |eight| eight[first..first + 4].to_vec());
                let all = gated_reference(activation, &pick(0).collect::<Vec<_>>(), &pick(4).collect::<Vec<_>>());
                for weighted in [false, true] {
                    let span = Span { position: 4, rows: tokens };
                    let [x_buffer, y] =
                        [&x, &vec![UNTOUCHED; (tokens * ff + 4) as usize]].map(|values| gpu.upload("values", values).unwrap());
                    let (step, weight_buffer) = (step(&gpu, span), gpu.upload("weights", &weights).unwrap());
                    let mut plan = Plan::default();
                    for (first, rows, matrix) in &case.shards {
                        let finish = Finish::Gated { activation, weighted, y_stride: ff, first: *first };
                        let (dispatch, _) = case.dispatch(&gpu, *rows, tokens, Outcome::PLAIN, finish);
                        let mut bindings: Vec<Binding> =
                            [&matrix.quants, &matrix.scales, &x_buffer, &step, &y].map(Buffer::whole).into();
                        bindings.extend(weighted.then(|| weight_buffer.whole()));
                        plan.push(&gpu, &dispatch, &bindings);
                    }
                    gpu.run(&plan, span);
                    let after: Vec<f32> = download(&gpu, &y);
                    let factor = |i: usize| if weighted { f64::from(f32::from_bits(weights[i / ff as usize][1])) } else { 1.0 };
                    let expected: Vec<f64> = all.iter().enumerate().map(|(i, y)| factor(i) * y).collect();
                    let error = worst(&after[..expected.len()], &expected);
                    assert!(error < 5e-6, "{activation:?}, {tokens} tokens, weighted {weighted}: error {error}");
                    assert!(after[expected.len()..].iter().all(|y| *y == UNTOUCHED), "{activation:?} wrote outside");
                }
            }
        }
    }
}

#[test]
fn gates_apart_of_every_activation() {
    let [gpu, _] = open_both();
    let mut random = Random(56);
    for activation in ACTIVATIONS {
        let (k, rows) = (140, 3);
        let mut x: Vec<f32> = random.vector((rows * 2 * k) as usize).iter().map(|x| 5.0 * x).collect();
        // Far from zero there is 0, or the argument, or its square, never NaN.
        x[..2].copy_from_slice(&[300.0, -300.0]);
        let y = gpu.upload("y", &vec![UNTOUCHED; ((rows + 1) * k) as usize]).unwrap();
        let kernel = Gated { activation, k, x_stride: 2 * k, up_first: k };
        let bindings = [gpu.upload("x", &x).unwrap().whole(), y.whole()];
        let after = run(&gpu, &kernel.dispatch(), &bindings, Span { position: 0, rows }, &y);
        for (row, x) in x.chunks_exact(2 * k as usize).enumerate() {
            let (gate, up) = x.split_at(k as usize);
            let expected = gated_reference(activation, &wide(gate), &wide(up));
            for (actual, expected) in after[row * k as usize..].iter().zip(expected) {
                let error = (f64::from(*actual) - expected).abs();
                assert!(error <= 3e-6 * expected.abs().max(1.0), "{activation:?}: {actual} instead of {expected}");
            }
        }
        assert!(after[(rows * k) as usize..].iter().all(|y| *y == UNTOUCHED), "{activation:?} wrote outside");
    }
}

#[test]
fn learned_positions_are_added() {
    for gpu in open_both() {
        let mut random = Random(57);
        let (k, y_stride, rows) = (64, 68, 9);
        for format in [Format::F32, Format::F16, Format::Q8_0] {
            for (position, tokens) in [(0u32, 1u32), (0, 9), (3, 4), (5, 4), (7, 2)] {
                // In two shards, the border of which some spans cross.
                let shards =
                    [(0, 4), (4, rows - 4)].map(|(first, rows)| (first, rows, Matrix::random(&gpu, &mut random, format, rows, k)));
                let before = random.vector(((tokens + 1) * y_stride) as usize);
                let y = gpu.upload("y", &before).unwrap();
                let span = Span { position, rows: tokens };
                let (step, mut plan) = (step(&gpu, span), Plan::default());
                for (first_row, rows, matrix) in &shards {
                    let kernel = Embed { format, first_row: *first_row, rows: *rows, k, y_stride, scale: 1.0, positions: true };
                    plan.push(&gpu, &kernel.dispatch(), &[&matrix.quants, &matrix.scales, &step, &y].map(Buffer::whole));
                }
                gpu.run(&plan, span);
                let after: Vec<f32> = download(&gpu, &y);
                let table: Vec<f64> = shards.iter().flat_map(|(_, _, matrix)| matrix.values.clone()).collect();
                let ids: Vec<u32> = (position..position + tokens).collect();
                let mut expected = wide(&before);
                for (row, added) in embed_reference(&table, &ids, k as usize, 1.0).chunks_exact(k as usize).enumerate() {
                    let own = &mut expected[row * y_stride as usize..];
                    own.iter_mut().zip(added).for_each(|(y, added)| *y += added);
                }
                let error = worst(&after[..before.len()], &expected);
                assert!(error < 1e-6, "{format:?} at {span:?}: error {error}");
            }
        }
    }
}
