//! Queries, keys and values on their way into a cache in blocks, against their `f64` twin.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
    pub mod kv_blocks;
}

use common::gpu::{Random, download, open_both};
use common::kv_blocks;
use kinglet::gpu::{Buffer, Gpu, Plan, Span};
use kinglet::kernels::{HeadNorm, HeadNormOver, Heads, KvType, NormKind, RopeKv, Step, rope_turns};

/// What no kernel may write over.
const UNTOUCHED: u32 = 0x7bcd_7abc;

fn rope([heads, kv_heads, head_dim]: [u32; 3], kv_type: KvType) -> RopeKv {
    let (rope_dims, context, capacity) = (head_dim / 2, 60, 44);
    RopeKv { heads, kv_heads, head_dim, rope_dims, attention_factor: 1.1, temperature: None, context, capacity, first: 0, kv_type }
}

fn freqs(rope: &RopeKv) -> Vec<f64> {
    let pairs = rope.rope_dims / 2;
    (0..pairs).map(|i| 10_000f64.powf(-f64::from(i) / f64::from(pairs))).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

/// Puts rows away; returns queries and the words of both caches.
fn placed(gpu: &Gpu, kernel: Heads, span: Span, x: &[f32], weights: [&[f32]; 2]) -> (Vec<f32>, [Vec<u32>; 2]) {
    let rope = kernel.rope;
    let words = rope.kv_type.bytes(rope.capacity, rope.kv_heads, rope.head_dim) as usize / 4;
    let cache = || gpu.upload("cache", &vec![UNTOUCHED; words + 4]).unwrap();
    let (k, v) = (cache(), cache());
    let q = gpu.upload("q", &vec![f32::NAN; (span.rows * rope.heads * rope.head_dim) as usize]).unwrap();
    let [x, q_weight, k_weight] = [x, weights[0], weights[1]].map(|values| gpu.upload("values", values).unwrap());
    let step = gpu.upload("step", &[Step { position: span.position, rows: span.rows, drawn: 0, token: 0 }]).unwrap();
    let turns = gpu.upload("turns", &rope_turns(&freqs(&rope))).unwrap();
    let mut plan = Plan::default();
    let bindings = [&x, &step, &turns, &q_weight, &k_weight, &q, &k, &v].map(Buffer::whole);
    plan.push(gpu, &kernel.dispatch(gpu.capabilities()), &bindings);
    gpu.run(&plan, span);
    let caches = [&k, &v].map(|cache| {
        let mut all: Vec<u32> = download(gpu, cache);
        assert!(all.split_off(words).iter().all(|word| *word == UNTOUCHED), "{kernel:?} wrote behind its cache");
        all
    });
    (download(gpu, &q), caches)
}

fn check(gpu: &Gpu, random: &mut Random, kernel: Heads, span: Span, x: &[f32]) {
    let rope = kernel.rope;
    let [heads, kv_heads, dim, capacity] = [rope.heads, rope.kv_heads, rope.head_dim, rope.capacity].map(|size| size as usize);
    let width = (heads + 2 * kv_heads) * dim;
    let weights = [heads * dim, kv_heads * dim].map(|n| random.vector(n));
    let (q, caches) = placed(gpu, kernel, span, x, [&weights[0], &weights[1]]);
    let weights = weights.map(|weights| wide(&weights));
    let what = format!("{kernel:?} at {span:?} on {}", gpu.info().name);
    // Which rows of the caches are written, and with what.
    let mut rows: Vec<[Option<Vec<f64>>; 2]> = vec![[None, None]; kv_heads * capacity];
    for (row, x) in x.chunks_exact(width).enumerate().take(span.rows as usize) {
        let position = span.position as usize + row;
        let expected = kernel.reference(&wide(x), [&weights[0], &weights[1]], position as u32, &freqs(&rope));
        let (queries, rest) = expected.split_at(heads * dim);
        for (actual, expected) in q[row * heads * dim..].iter().zip(queries) {
            assert!(
                (f64::from(*actual) - expected).abs() <= 5e-6 * expected.abs().max(1.0),
                "q of {what}: {actual}, not {expected}"
            );
        }
        if position < rope.context as usize {
            for (part, values) in rest.chunks_exact(kv_heads * dim).enumerate() {
                for (head, values) in values.chunks_exact(dim).enumerate() {
                    rows[head * capacity + (position - rope.first as usize) % capacity][part] = Some(values.to_vec());
                }
            }
        }
    }
    let (mut other_codes, mut codes) = (0, 0);
    for (part, words) in caches.iter().enumerate() {
        let read = kv_blocks::read(rope.kv_type, dim, words);
        // What rows that nobody wrote mean.
        let untouched = kv_blocks::read(rope.kv_type, dim, &vec![UNTOUCHED; words.len()]);
        for (row, (expected, actual)) in rows.iter().zip(read.chunks_exact(dim)).enumerate() {
            let Some(expected) = &expected[part] else {
                assert!(actual == &untouched[row * dim..][..dim], "row {row} of {what} was written");
                continue;
            };
            let numbers: Vec<f32> = expected.iter().map(|x| *x as f32).collect();
            let twin = kv_blocks::read(rope.kv_type, dim, &kv_blocks::written(rope.kv_type, dim, &numbers));
            for (block, (numbers, (actual, twin))) in
                numbers.chunks_exact(32).zip(actual.chunks_exact(32).zip(twin.chunks_exact(32))).enumerate()
            {
                let d = kv_blocks::scale(rope.kv_type, numbers).abs();
                for (i, ((actual, twin), number)) in actual.iter().zip(twin).zip(numbers).enumerate() {
                    // Half a step, and the rounding of d to f16; the numbers opposite the largest are a whole step off in Q4_0.
                    let top = rope.kv_type == KvType::Q4_0 && number.abs() > 7.5 * d;
                    let allowed = d * if top { 1.02 } else { 0.51 } + number.abs() * 1e-3 + 1e-7;
                    let off = (actual - number).abs();
                    assert!(off <= allowed, "part {part}, row {row}, block {block}, {i} of {what}: {actual}, not {number} (d {d})");
                    codes += 1;
                    // Numbers near the middle between two codes may become either.
                    other_codes += usize::from((actual - twin).abs() > 0.3 * d);
                }
            }
        }
    }
    assert!(other_codes * 500 <= codes, "{other_codes} of {codes} codes of {what} are not the twin's");
}

#[test]
fn heads_of_every_shape_in_blocks() {
    for gpu in open_both() {
        let mut random = Random(51);
        let norm = Some(HeadNorm { kind: NormKind::Rms, epsilon: 1e-5, over: HeadNormOver::All });
        for (i, shape) in [[9, 3, 64], [2, 1, 32], [4, 4, 96], [4, 1, 256], [3, 3, 160], [8, 2, 128]].into_iter().enumerate() {
            for kv_type in [KvType::Q8_0, KvType::Q4_0] {
                let (norm, clamp) = [(None, 0.0), (norm, 0.0), (None, 1.25)][i % 3];
                let rope = rope(shape, kv_type);
                let width = (rope.heads + 2 * rope.kv_heads) * rope.head_dim;
                // Around the ring, and beyond the context.
                for (position, rows) in [(0, 1), (40, 9), (55, 8)] {
                    let x = random.vector((rows * width) as usize).iter().map(|x| 3.0 * x + 0.5).collect::<Vec<_>>();
                    check(&gpu, &mut random, Heads { rope, clamp, norm }, Span { position, rows }, &x);
                    if position >= 32 {
                        // The last segment of a cache.
                        let rope = RopeKv { first: 32, capacity: 28, ..rope };
                        check(&gpu, &mut random, Heads { rope, clamp, norm }, Span { position, rows }, &x);
                    }
                }
            }
        }
    }
}

#[test]
fn blocks_of_zeros_and_of_great_and_small_numbers() {
    for gpu in open_both() {
        let mut random = Random(52);
        for kv_type in [KvType::Q8_0, KvType::Q4_0] {
            let rope = RopeKv { rope_dims: 0, ..rope([1, 1, 64], kv_type) };
            for number in [0.0, 1.0, -1.0, 1e-3, -30_000.0, 65_504.0] {
                let x = vec![number; 3 * 64];
                check(&gpu, &mut random, Heads { rope, clamp: 0.0, norm: None }, Span { position: 3, rows: 1 }, &x);
            }
        }
    }
}
