//! Norms of rows and of heads against their `f64` twins.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
    pub mod placed;
}

use common::gpu::{Random, download, open_both, run, worst};
use common::placed::Placed;
use kinglet::gpu::{Binding, Buffer, Gpu, Plan, Span};
use kinglet::kernels::{HeadNorm, HeadNormOver, Heads, KvType, Norm, NormKind, NormTarget, RopeKv, Step, rope_turns};

/// What a kernel must neither read nor write.
const UNTOUCHED: f32 = 1e30;

const KINDS: [NormKind; 2] = [NormKind::Rms, NormKind::Layer];

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn step(gpu: &Gpu, span: Span) -> Buffer {
    gpu.upload("step", &[Step { position: span.position, rows: span.rows, drawn: 0, token: 0 }]).unwrap()
}

/// Runs `kernel` over `rows` rows of about `size`, and compares all that it writes.
fn check(gpu: &Gpu, random: &mut Random, kernel: Norm, rows: u32, size: f32) {
    let k = kernel.k as usize;
    let span = Span { position: 3, rows };
    let capacity = rows as usize + 1;
    // Rows that have a mean, which only LayerNorm takes away.
    let mut x: Vec<f32> = random.vector(capacity * k).iter().map(|x| size * (x + 0.5)).collect();
    x[rows as usize * k..].fill(UNTOUCHED);
    let [weight, bias, next] = [k, k, k].map(|n| random.vector(n));
    let before: Vec<f32> = random.vector(capacity * k).iter().map(|x| 10.0 * x).collect();
    let [x_buffer, weight_buffer, bias_buffer, next_buffer, y] =
        [&x, &weight, &bias, &next, &before].map(|values| gpu.upload("values", values).unwrap());
    let weighted = gpu.upload("weighted", &vec![UNTOUCHED; k + 8]).unwrap();
    let mut bindings: Vec<Binding> = [&x_buffer, &weight_buffer, &y].map(Buffer::whole).into();
    if let NormTarget::Prepared { .. } = kernel.target {
        bindings.extend([&next_buffer, &weighted].map(Buffer::whole));
    }
    if kernel.bias {
        bindings.push(bias_buffer.whole());
    }
    let after = run(gpu, &kernel.dispatch(gpu.capabilities()), &bindings, span, &y);

    let bias = if kernel.bias { wide(&bias) } else { Vec::new() };
    let mut expected = kernel.reference(&wide(&x[..rows as usize * k]), &wide(&weight), &bias);
    match kernel.target {
        NormTarget::Rows => {}
        NormTarget::Residual { scale } | NormTarget::Prepared { scale } => {
            expected.iter_mut().zip(&before).for_each(|(y, before)| *y = f64::from(scale) * *y + f64::from(*before));
        }
    }
    let written = expected.len();
    let error = worst(&after[..written], &expected);
    assert!(error < 2e-6, "{kernel:?}, {rows} rows of {size} on {}: error {error}", gpu.info().name);
    assert!(after[written..before.len()] == before[written..], "{kernel:?} wrote outside");
    if let NormTarget::Prepared { .. } = kernel.target {
        let prepared: Vec<f32> = download(gpu, &weighted);
        let expected: Vec<f64> = after.iter().zip(&next).map(|(y, w)| f64::from(*y) * f64::from(*w)).collect();
        assert!(worst(&prepared[..k], &expected[..k]) < 1e-6, "{kernel:?}: the next norm's row");
        let squares: f64 = wide(&after[..k]).iter().map(|y| y * y).sum();
        let sum: f64 = wide(&prepared[k..k + 4]).iter().sum();
        assert!((sum - squares).abs() < 1e-6 * squares, "{kernel:?}: {sum} instead of {squares}");
        assert!(prepared[k + 4..].iter().all(|y| *y == UNTOUCHED), "{kernel:?} wrote behind its sum");
    }
}

#[test]
fn every_norm_to_every_target() {
    use NormTarget::{Prepared, Residual, Rows};
    for gpu in open_both() {
        let mut random = Random(21);
        for kind in KINDS {
            for bias in [false, true] {
                for target in [Rows, Residual { scale: 0.22 }, Prepared { scale: 1.5 }] {
                    for (k, rows, size) in [(4, 2, 1.0), (12, 3, 1e-2), (260, 5, 100.0), (576, 1, 1.0), (1028, 2, 10.0)] {
                        let rows = if matches!(target, Prepared { .. }) { 1 } else { rows };
                        let workgroup = [4, 8, 32, 64][random.below(4) as usize];
                        check(&gpu, &mut random, Norm { kind, k, epsilon: 1e-5, bias, target, workgroup }, rows, size);
                    }
                }
            }
        }
    }
}

#[test]
fn epsilon_keeps_rows_of_zeros_and_of_one_number_finite() {
    let [gpu, _] = open_both();
    for kind in KINDS {
        for (number, epsilon) in [(0.0, 1e-6), (3.0, 1e-5)] {
            let kernel = Norm { kind, k: 64, epsilon, bias: false, target: NormTarget::Rows, workgroup: Norm::ONE_ROW };
            let (x, weight) = (vec![number; 64], vec![2f32; 64]);
            let y = gpu.upload("y", &vec![UNTOUCHED; 64]).unwrap();
            let inputs = [gpu.upload("x", &x).unwrap(), gpu.upload("weight", &weight).unwrap()];
            let bindings = [&inputs[0], &inputs[1], &y].map(Buffer::whole);
            let after = run(&gpu, &kernel.dispatch(gpu.capabilities()), &bindings, Span { position: 0, rows: 1 }, &y);
            let expected = kernel.reference(&wide(&x), &wide(&weight), &[]);
            assert!(worst(&after[..64], &expected) < 1e-6, "{kernel:?} of {number}: {} instead of {}", after[0], expected[0]);
        }
    }
}

fn rope(heads: u32, kv_heads: u32, head_dim: u32, rope_dims: u32) -> RopeKv {
    let (context, capacity, kv_type) = (60, 60, KvType::F32);
    RopeKv { heads, kv_heads, head_dim, rope_dims, attention_factor: 1.0, temperature: None, context, capacity, first: 0, kv_type }
}

fn freqs(rope: &RopeKv) -> Vec<f64> {
    let pairs = rope.rope_dims / 2;
    (0..pairs).map(|i| 10_000f64.powf(-f64::from(i) / f64::from(pairs))).collect()
}

fn check_heads(gpu: &Gpu, random: &mut Random, kernel: Heads, span: Span) {
    let rope = kernel.rope;
    let width = ((rope.heads + 2 * rope.kv_heads) * rope.head_dim) as usize;
    let x: Vec<f32> = random.vector((span.rows as usize + 1) * width).iter().map(|x| 3.0 * x + 0.5).collect();
    let lengths = [rope.heads, rope.kv_heads].map(|heads| match kernel.norm.map(|norm| norm.over) {
        Some(HeadNormOver::Head) => rope.head_dim as usize,
        _ => (heads * rope.head_dim) as usize,
    });
    let weights = lengths.map(|n| random.vector(n));
    let placed = Placed::new(gpu, &rope, span.rows);
    let [x_buffer, q_weight, k_weight] = [&x, &weights[0], &weights[1]].map(|values| gpu.upload("values", values).unwrap());
    let (step, turns) = (step(gpu, span), gpu.upload("turns", &rope_turns(&freqs(&rope))).unwrap());
    let mut plan = Plan::default();
    let bindings = [&x_buffer, &step, &turns, &q_weight, &k_weight, &placed.q, &placed.k, &placed.v].map(Buffer::whole);
    plan.push(gpu, &kernel.dispatch(gpu.capabilities()), &bindings);
    gpu.run(&plan, span);
    let weights = weights.map(|weights| wide(&weights));
    let rows: Vec<Vec<f64>> = (span.position..span.position + span.rows)
        .zip(x.chunks_exact(width))
        .map(|(position, row)| kernel.reference(&wide(row), [&weights[0], &weights[1]], position, &freqs(&rope)))
        .collect();
    placed.check(gpu, &rope, span, &rows, 5e-6);
}

#[test]
fn heads_of_every_norm_and_shape() {
    for gpu in open_both() {
        let mut random = Random(22);
        let norms = KINDS
            .into_iter()
            .flat_map(|kind| [HeadNormOver::Head, HeadNormOver::OwnHead, HeadNormOver::All].map(|over| (kind, over)))
            .map(|(kind, over)| Some(HeadNorm { kind, epsilon: 1e-5, over }));
        for (i, norm) in norms.chain([None]).enumerate() {
            for [heads, kv_heads, head_dim, rope_dims] in
                [[9, 3, 64, 64], [1, 1, 8, 2], [6, 2, 40, 10], [4, 1, 256, 0], [5, 5, 24, 24]]
            {
                let kv_type = KvType::PLAIN[random.below(2) as usize];
                let attention_factor = [1.0, 1.2][i % 2];
                let rope = RopeKv { kv_type, attention_factor, ..rope(heads, kv_heads, head_dim, rope_dims) };
                let clamp = [0.0, 1.25][random.below(2) as usize];
                let rows = [1, 2, 9][random.below(3) as usize];
                let span = Span { position: random.below(50) as u32, rows };
                check_heads(&gpu, &mut random, Heads { rope, clamp, norm }, span);
            }
        }
    }
}

#[test]
fn values_are_clamped_before_they_are_normed() {
    let [gpu, _] = open_both();
    let mut random = Random(23);
    for kind in KINDS {
        for over in [HeadNormOver::Head, HeadNormOver::All] {
            let norm = Some(HeadNorm { kind, epsilon: 1e-5, over });
            let kernel = Heads { rope: rope(4, 2, 16, 8), clamp: 0.75, norm };
            check_heads(&gpu, &mut random, kernel, Span { position: 7, rows: 3 });
        }
    }
}

#[test]
fn positions_go_round_in_a_ring_and_queries_grow_with_them() {
    for gpu in open_both() {
        let mut random = Random(24);
        let norm = Some(HeadNorm { kind: NormKind::Rms, epsilon: 1e-6, over: HeadNormOver::Head });
        for kv_type in KvType::PLAIN {
            for (position, rows) in [(0, 20), (19, 1), (20, 1), (35, 11), (77, 20), (495, 5), (497, 6)] {
                let rope = RopeKv { temperature: Some((0.3, 7)), context: 500, capacity: 20, kv_type, ..rope(3, 1, 16, 8) };
                check_heads(&gpu, &mut random, Heads { rope, clamp: 0.0, norm }, Span { position, rows });
            }
        }
    }
}
