//! RoPE and the write into the key/value cache, as a product's epilogue, against their `f64` twin.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
}

use common::gpu::{Random, download, open};
use kinglet::gpu::{Buffer, Dispatch, Gpu, Plan, Span};
use kinglet::kernels::{Finish, Format, KvType, Matmul, Matvec, Outcome, RopeKv, Step, rope_reference, rope_turns};

/// What the kernel must not write. It is exact in f16.
const UNTOUCHED: f32 = 1024.0;

/// Elements of a row of queries, keys and values.
fn width(kernel: &RopeKv) -> u32 {
    (kernel.heads + 2 * kernel.kv_heads) * kernel.head_dim
}

/// An F32 matrix of `size` rows and columns that changes nothing, from row `first` on.
fn identity(gpu: &Gpu, size: u32, first: u32) -> Buffer {
    let rows = size - first;
    let mut quants = vec![0f32; (rows * size) as usize];
    for row in 0..rows {
        let column = first + row;
        quants[(row / 4 * 4 * size + column * 4 + row % 4) as usize] = 1.0;
    }
    gpu.upload("identity", &quants).unwrap()
}

/// `[q, k, v]` after a run over rows of `qkv` at `position`: of many rows by matmul, else by matvec. The matrix is split before row `split`.
fn run(gpu: &Gpu, kernel: RopeKv, turns: &[u32], qkv: &[f32], span: Span, split: u32) -> [Vec<f32>; 3] {
    let cache = vec![UNTOUCHED; (kernel.kv_heads * kernel.context * kernel.head_dim) as usize];
    let upload = |cache: &[f32]| match kernel.kv_type {
        KvType::F32 => gpu.upload("cache", cache).unwrap(),
        KvType::F16 => gpu.upload("cache", &cache.iter().map(|&x| half::f16::from_f32(x).to_bits()).collect::<Vec<_>>()).unwrap(),
        blocks => panic!("{blocks:?} is not put away number by number"),
    };
    let [k, v] = [upload(&cache), upload(&cache)];
    let q = gpu.upload("q", &vec![UNTOUCHED; (span.rows * kernel.heads * kernel.head_dim) as usize + 4]).unwrap();
    let step = gpu.upload("step", &[Step { position: span.position, rows: span.rows, drawn: 0, token: 0 }]).unwrap();
    let [qkv, turns] = [gpu.upload("qkv", qkv).unwrap(), gpu.upload("turns", turns).unwrap()];
    let mut plan = Plan::default();
    let size = width(&kernel);
    for (first, rows) in [(0, split), (split, size - split)].into_iter().filter(|(_, rows)| *rows > 0) {
        let finish = Finish::RopeKv { heads: kernel, first };
        let (format, k_size) = (Format::F32, size);
        let dispatch: Dispatch = match span.rows {
            1..=3 => Matvec {
                format,
                rows,
                k: k_size,
                vectors: span.rows,
                x_stride: size,
                norm: None,
                experts: None,
                variant: Default::default(),
                outcome: Outcome::PLAIN,
                finish,
            }
            .dispatch(gpu.capabilities()),
            _ => Matmul {
                format,
                rows,
                k: k_size,
                x_stride: size,
                tile_tokens: 64,
                experts: None,
                variant: Default::default(),
                outcome: Outcome::PLAIN,
                finish,
            }
            .dispatch(gpu.capabilities()),
        };
        let quants = identity(gpu, size, first);
        plan.push(gpu, &dispatch, &[&quants, &quants, &qkv, &step, &turns, &q, &k, &v].map(Buffer::whole));
    }
    gpu.run(&plan, span);
    let cache = |buffer: &Buffer| match kernel.kv_type {
        KvType::F32 => download(gpu, buffer),
        KvType::F16 => download::<u16>(gpu, buffer).into_iter().map(|bits| half::f16::from_bits(bits).to_f32()).collect(),
        blocks => panic!("{blocks:?} is not put away number by number"),
    };
    [download(gpu, &q), cache(&k), cache(&v)]
}

fn kernel(heads: u32, kv_heads: u32, head_dim: u32, rope_dims: u32) -> RopeKv {
    RopeKv {
        heads,
        kv_heads,
        head_dim,
        rope_dims,
        attention_factor: 1.0,
        temperature: None,
        context: 40,
        capacity: 40,
        first: 0,
        kv_type: KvType::F32,
    }
}

/// Every element of q and of the caches against the twin: the frequencies themselves, not their rounded turns.
fn check(gpu: &Gpu, random: &mut Random, kernel: RopeKv, freqs: &[f64], span: Span) {
    let [heads, kv_heads, head_dim, context] = [kernel.heads, kernel.kv_heads, kernel.head_dim, kernel.context].map(|n| n as usize);
    let qkv = random.vector((span.rows * width(&kernel)) as usize);
    let [k_first, v_first] = [kernel.heads * kernel.head_dim, (kernel.heads + kernel.kv_heads) * kernel.head_dim];
    let factor = f64::from(kernel.attention_factor);
    // Two products of values below 1 with sines right to 1e-6, and the angle's own error: position * 2^-33 turns.
    let turned = 2.0 * factor.max(1.0) * (1e-6 + f64::from(span.position + span.rows) * 2f64.powi(-33) * std::f64::consts::TAU);
    // pack2x16float may round either way.
    let stored = if kernel.kv_type == KvType::F16 { 2f64.powi(-10) * factor.max(1.0) * 1.5 } else { 0.0 };
    let near = |actual: f32, expected: f64, tolerance: f64, what: &str| {
        let error = (f64::from(actual) - expected).abs();
        assert!(error <= tolerance, "{what} of {kernel:?} at {span:?} on {}: {actual} instead of {expected}", gpu.info().name);
    };
    let head = |row: usize, first: u32, head: usize| -> Vec<f64> {
        let first = row * width(&kernel) as usize + first as usize + head * head_dim;
        qkv[first..][..head_dim].iter().map(|&x| f64::from(x)).collect()
    };

    let [q, mut k, mut v] = run(gpu, kernel, &rope_turns(freqs), &qkv, span, random.below(2) as u32 * k_first);
    for row in 0..span.rows as usize {
        let position = span.position + row as u32;
        let turn = |x: &[f64]| rope_reference(x, position, freqs, factor);
        for h in 0..heads {
            let expected = turn(&head(row, 0, h));
            q[(row * heads + h) * head_dim..].iter().zip(expected).for_each(|(q, e)| near(*q, e, turned, "q"));
        }
        for h in 0..kv_heads {
            let at = (h * context + position as usize) * head_dim;
            if position < kernel.context {
                let expected = turn(&head(row, k_first, h));
                k[at..].iter().zip(expected).for_each(|(k, e)| near(*k, e, turned + stored, "k"));
                v[at..].iter().zip(head(row, v_first, h)).for_each(|(v, e)| near(*v, e, stored, "v"));
                k[at..][..head_dim].fill(UNTOUCHED);
                v[at..][..head_dim].fill(UNTOUCHED);
            }
        }
    }
    let rest = q[span.rows as usize * heads * head_dim..].iter().chain(&k).chain(&v);
    assert!(rest.into_iter().all(|x| *x == UNTOUCHED), "{kernel:?} at {span:?} wrote outside of its rows");
}

fn freqs(pairs: u32, base: f64) -> Vec<f64> {
    (0..pairs).map(|i| base.powf(-f64::from(i) / f64::from(pairs))).collect()
}

#[test]
fn odd_shapes_rows_and_positions() {
    let gpu = open();
    let mut random = Random(1);
    {
        for kv_type in KvType::PLAIN {
            for [heads, kv_heads, head_dim, rope_dims] in
                [[9, 3, 64, 64], [1, 1, 8, 2], [12, 4, 80, 20], [4, 1, 256, 256], [2, 2, 40, 6], [3, 1, 128, 64], [1, 1, 16, 0]]
            {
                let plain = kernel(heads, kv_heads, head_dim, rope_dims);
                let attention_factor = [1.0, 1.3466][random.below(2) as usize];
                for rows in [1, 2, 17] {
                    let position = random.below(u64::from(41 - rows)) as u32;
                    let kernel = RopeKv { kv_type, attention_factor, ..plain };
                    check(&gpu, &mut random, kernel, &freqs(rope_dims / 2, 10_000.0), Span { position, rows });
                }
            }
        }
    }
}

#[test]
fn positions_far_out() {
    let gpu = open();
    let mut random = Random(3);
    for position in [4095, 65_536, 131_060] {
        let plain = kernel(2, 1, 16, 16);
        let kernel = RopeKv { context: 131_072, capacity: 131_072, kv_type: KvType::F16, ..plain };
        check(&gpu, &mut random, kernel, &freqs(8, 10_000.0), Span { position, rows: 3 });
    }
}

#[test]
fn rows_beyond_the_context_are_dropped() {
    let gpu = open();
    for kv_type in KvType::PLAIN {
        let kernel = RopeKv { kv_type, ..kernel(2, 2, 16, 16) };
        check(&gpu, &mut Random(4), kernel, &freqs(8, 10_000.0), Span { position: 38, rows: 5 });
    }
}

#[test]
fn sine_and_cosine_are_right_everywhere() {
    // Heads of (1, 0) pairs turn into (cos, sin).
    let gpu = open();
    let mut random = Random(5);
    let kernel = kernel(1, 1, 256, 256);
    let mut turns: Vec<u32> = (0..128).map(|_| random.bits() as u32).collect();
    for (i, turn) in turns.iter_mut().enumerate().take(64) {
        // Around the multiples of an eighth turn, where quadrants begin and end.
        *turn = (i as u32 / 8 * 0x2000_0000).wrapping_add((i % 8) as u32).wrapping_sub(4);
    }
    let qkv: Vec<f32> = (0..128 * width(&kernel)).map(|i| (i % 2 == 0) as u32 as f32).collect();
    let [q, ..] = run(&gpu, kernel, &turns, &qkv, Span { position: 1, rows: 128 }, 0);
    for (i, pair) in q[..128 * 256].chunks_exact(2).enumerate() {
        let position = 1 + (i / 128) as u32;
        let angle = f64::from(position.wrapping_mul(turns[i % 128])) / 2f64.powi(32) * std::f64::consts::TAU;
        let error = (f64::from(pair[0]) - angle.cos()).abs().max((f64::from(pair[1]) - angle.sin()).abs());
        assert!(error < 1e-6, "angle {angle}: {pair:?}, off by {error}");
    }
}

#[test]
fn values_too_large_for_f16_become_its_largest() {
    let gpu = open();
    let kernel = RopeKv { kv_type: KvType::F16, ..kernel(1, 1, 8, 2) };
    let qkv: Vec<f32> = (0..24).map(|i| if i % 2 == 0 { 1e6 } else { -7e4 }).collect();
    let [_, k, v] = run(&gpu, kernel, &[0], &qkv, Span { position: 0, rows: 1 }, 8);
    for x in [&k[..8], &v[..8]] {
        assert_eq!(x, [65504.0, -65504.0].repeat(4));
    }
}
