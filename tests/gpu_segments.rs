//! Attention and the writing of keys and values where the KV cache is in several pairs of buffers.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod attention;
    pub mod gpu;
    pub mod kv_blocks;
}

use common::attention::{Case, kernel};
use common::gpu::{Random, open_both};
use kinglet::gpu::Span;
use kinglet::kernels::{Attention, KvType};

#[test]
fn attention_over_segments() {
    let mut random = Random(41);
    for gpu in open_both() {
        for (i, shape) in [[9, 3, 64], [2, 1, 8], [4, 1, 128]].into_iter().enumerate() {
            let kernel = kernel(shape, 1100, KvType::PLAIN[i % 2]);
            let ends = [256, 512, 1024, 1100];
            // In the first segment, at the borders, in a full one, and at the end of all.
            for (position, rows) in [(250, 6), (255, 1), (256, 1), (256, 70), (511, 1), (700, 33), (1099, 1)] {
                Case::random(&mut random, kernel, Span { position, rows }).in_segments(&gpu, &ends);
            }
            // Stretches of two parts.
            for position in [511, 512, 900, 1099] {
                Case::random(&mut random, Attention { run: 2, ..kernel }, Span { position, rows: 1 })
                    .in_segments(&gpu, &[512, 1024, 1100]);
            }
            let rows = 1 + random.below(70) as u32;
            let position = 512 + random.below(u64::from(512 - rows)) as u32;
            Case::random(&mut random, kernel, Span { position, rows }).in_segments(&gpu, &ends);
        }
    }
}

/// Caches in blocks, heads that are too long to keep their queries, caps and slopes, which depend on distances over the borders.
#[test]
fn other_attention_over_segments() {
    let mut random = Random(42);
    for gpu in open_both() {
        let cases = [
            ([8, 1, 256], KvType::Q8_0, 0.0, 0.0),
            ([4, 4, 96], KvType::Q4_0, 0.0, 0.0),
            ([12, 12, 16], KvType::F32, 0.5, 4.0),
            ([5, 1, 24], KvType::F16, 0.0, 8.0),
        ];
        for (shape, kv_type, soft_cap, alibi) in cases {
            let kernel = Attention { soft_cap, alibi, ..kernel(shape, 800, kv_type) };
            for (position, rows) in [(300, 1), (600, 1), (512, 50), (270, 33)] {
                Case::random(&mut random, kernel, Span { position, rows }).in_segments(&gpu, &[256, 512, 800]);
            }
        }
    }
}

/// The largest score is in the first segment, or in the last: what was summed before is brought down to it.
#[test]
fn scores_that_rise_and_fall_over_segments() {
    let mut random = Random(43);
    for gpu in open_both() {
        let kernel = kernel([2, 1, 8], 600, KvType::F32);
        for slope in [-2.0, 2.0] {
            for rows in [1, 33] {
                let mut case = Case::sloping(&mut random, kernel, Span { position: 600 - rows, rows }, slope);
                case.in_segments(&gpu, &[256, 512, 600]);
            }
        }
    }
}

#[test]
fn every_position_is_read_once() {
    let [gpu, _] = open_both();
    let whole = kernel([9, 3, 64], 2048, KvType::F16);
    let segments = [(0, 512), (512, 512), (1024, 1024)].map(|(first, capacity)| Attention { first, capacity, ..whole });
    for position in [0, 511, 512, 1500, 2047] {
        let span = Span { position, rows: 1 };
        let row = 9 * 64 * 4;
        let bytes = |kernel: &Attention| kernel.decode(gpu.capabilities()).traffic.bytes(span) - row;
        assert_eq!(segments.iter().map(bytes).sum::<u64>(), bytes(&whole), "at {position}");
    }
}
