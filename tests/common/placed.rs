//! Queries and caches as [`RopeKv`] leaves them, and what must not be written.

#![allow(dead_code, reason = "every test uses its own part")]

use super::gpu::download;
use kinglet::gpu::{Buffer, Gpu, Span};
use kinglet::kernels::{KvType, RopeKv};

/// What no kernel may write over. It is exact in f16.
const UNTOUCHED: f32 = 1024.0;

/// Where queries, keys and values go.
pub struct Placed {
    pub q: Buffer,
    pub k: Buffer,
    pub v: Buffer,
}

impl Placed {
    /// Buffers for `rows` rows, with something behind them.
    pub fn new(gpu: &Gpu, kernel: &RopeKv, rows: u32) -> Self {
        let cache = vec![UNTOUCHED; (kernel.kv_heads * kernel.capacity * kernel.head_dim) as usize + 8];
        let upload = || match kernel.kv_type {
            KvType::F32 => gpu.upload("cache", &cache).unwrap(),
            KvType::F16 => {
                let halves: Vec<u16> = cache.iter().map(|&x| half::f16::from_f32(x).to_bits()).collect();
                gpu.upload("cache", &halves).unwrap()
            }
            blocks => panic!("{blocks:?} is not put away number by number"),
        };
        let q = gpu.upload("q", &vec![UNTOUCHED; (rows * kernel.heads * kernel.head_dim) as usize + 8]).unwrap();
        Self { q, k: upload(), v: upload() }
    }

    /// Every element against `expected`, a row of queries, keys and values for each of the span's rows, and all others untouched. Each is off
    /// by `tolerance` of its own size or of one at most, in f16 by its rounding too.
    pub fn check(&self, gpu: &Gpu, kernel: &RopeKv, span: Span, expected: &[Vec<f64>], tolerance: f64) {
        let [heads, kv_heads, dim, capacity] =
            [kernel.heads, kernel.kv_heads, kernel.head_dim, kernel.capacity].map(|size| size as usize);
        let rounding = if kernel.kv_type == KvType::F16 { 2f64.powi(-10) } else { 0.0 };
        let near = |actual: &mut f32, expected: f64, tolerance: f64, what: &str| {
            let error = (f64::from(*actual) - expected).abs();
            let on = &gpu.info().name;
            assert!(
                error <= tolerance * expected.abs().max(1.0),
                "{what} of {kernel:?} at {span:?} on {on}: {actual}, not {expected}"
            );
            *actual = UNTOUCHED;
        };
        let mut q: Vec<f32> = download(gpu, &self.q);
        let [mut k, mut v] = [&self.k, &self.v].map(|cache| match kernel.kv_type {
            KvType::F32 => download(gpu, cache),
            KvType::F16 => download::<u16>(gpu, cache).into_iter().map(|bits| half::f16::from_bits(bits).to_f32()).collect(),
            blocks => panic!("{blocks:?} is not put away number by number"),
        });
        assert_eq!(expected.len(), span.rows as usize);
        for (row, expected) in expected.iter().enumerate() {
            let (queries, rest) = expected.split_at(heads * dim);
            let (keys, values) = rest.split_at(kv_heads * dim);
            let own = &mut q[row * heads * dim..];
            own.iter_mut().zip(queries).for_each(|(actual, e)| near(actual, *e, tolerance, "q"));
            let position = span.position as usize + row;
            if position >= kernel.context as usize {
                continue;
            }
            for (cache, expected, what) in [(&mut k, keys, "k"), (&mut v, values, "v")] {
                for (head, expected) in expected.chunks_exact(dim).enumerate() {
                    let own = &mut cache[(head * capacity + position % capacity) * dim..];
                    own.iter_mut().zip(expected).for_each(|(actual, e)| near(actual, *e, tolerance + rounding, what));
                }
            }
        }
        let rest = q.iter().chain(&k).chain(&v);
        assert!(rest.into_iter().all(|x| *x == UNTOUCHED), "{kernel:?} at {span:?} wrote outside of its rows");
    }
}
