//! Attention, for one row and for many, against its `f64` twin.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod attention;
    pub mod gpu;
    pub mod kv_blocks;
}

use common::attention::{Case, UNTOUCHED, kernel, step, windowed};
use common::gpu::{Random, open_both, run};
use kinglet::gpu::{AdapterChoice, Buffer, Capabilities, Gpu, GpuError, GpuOptions, Span, Tier};
use kinglet::kernels::{Attention, KvType, Tiling};

#[test]
fn decode_at_the_borders_of_splits() {
    let mut random = Random(1);
    for gpu in open_both() {
        for (i, shape) in [[9, 3, 64], [1, 1, 8], [4, 2, 128]].into_iter().enumerate() {
            let kernel = kernel(shape, 520, KvType::PLAIN[i % 2]);
            for position in [0, 1, 2, 63, 126, 127, 128, 129, 255, 256, 384, 511, 512, 519] {
                Case::random(&mut random, kernel, Span { position, rows: 1 }).decode(&gpu);
            }
        }
    }
}

#[test]
fn decode_of_every_head_dim_and_group() {
    let mut random = Random(2);
    for gpu in open_both() {
        let shapes = [
            [12, 1, 40],
            [4, 4, 80],
            [8, 4, 96],
            [8, 1, 256],
            [16, 1, 64],
            [20, 4, 16],
            [17, 1, 24],
            [66, 2, 8],
            [3, 3, 248],
            [14, 2, 64],
            [10, 2, 24],
        ];
        for (i, shape) in shapes.into_iter().enumerate() {
            let context = 130 + random.below(300) as u32;
            let kernel = kernel(shape, context, KvType::PLAIN[i % 2]);
            for position in [random.below(128) as u32, context - 1] {
                Case::random(&mut random, kernel, Span { position, rows: 1 }).decode(&gpu);
            }
        }
    }
}

#[test]
fn decode_of_a_long_context() {
    let mut random = Random(3);
    for gpu in open_both() {
        // Many stretches for each slot of the merge.
        for kv_type in KvType::PLAIN {
            let kernel = kernel([2, 1, 16], 128 * 256 + 300, kv_type);
            Case::random(&mut random, kernel, Span { position: kernel.context - 1, rows: 1 }).decode(&gpu);
        }
    }
}

#[test]
fn prefill_of_odd_rows_and_positions() {
    let mut random = Random(4);
    let [gpu, _] = open_both();
    for (i, shape) in [[9, 3, 64], [1, 1, 8], [4, 1, 128]].into_iter().enumerate() {
        let kernel = kernel(shape, 300, KvType::PLAIN[i % 2]);
        for (position, rows) in
            [(0, 1), (0, 2), (0, 31), (0, 32), (0, 33), (0, 64), (0, 70), (1, 63), (31, 1), (62, 2), (63, 3), (64, 1)]
        {
            Case::random(&mut random, kernel, Span { position, rows }).prefill(&gpu);
        }
        for _ in 0..4 {
            let rows = 1 + random.below(70) as u32;
            let position = random.below(u64::from(kernel.context - rows)) as u32;
            Case::random(&mut random, kernel, Span { position, rows }).prefill(&gpu);
        }
        Case::random(&mut random, kernel, Span { position: kernel.context - 40, rows: 40 }).prefill(&gpu);
    }
}

#[test]
fn prefill_of_every_head_dim_and_group() {
    let mut random = Random(5);
    let [gpu, _] = open_both();
    for (i, shape) in
        [[12, 4, 40], [3, 3, 80], [4, 2, 96], [2, 1, 256], [2, 1, 136], [2, 2, 200], [17, 1, 24], [3, 1, 248], [2, 2, 64]]
            .into_iter()
            .enumerate()
    {
        let kernel = kernel(shape, 150, KvType::PLAIN[i % 2]);
        for (position, rows) in [(0, 37), (97, 45)] {
            Case::random(&mut random, kernel, Span { position, rows }).prefill(&gpu);
        }
    }
}

/// Queries and keys of whole numbers, whose scores are exact and up to tens of thousands.
fn whole_numbers(random: &mut Random, case: &mut Case, most: u64) {
    case.exact_scores = true;
    for x in case.q.iter_mut().chain(&mut case.k) {
        *x = random.below(2 * most + 1) as f32 - most as f32;
    }
}

#[test]
fn large_scores() {
    let mut random = Random(6);
    for gpu in open_both() {
        for kv_type in KvType::PLAIN {
            let kernel = Attention { scale: 1.0, ..kernel([6, 2, 64], 400, kv_type) };
            for most in [1, 32] {
                let mut case = Case::random(&mut random, kernel, Span { position: 399, rows: 1 });
                whole_numbers(&mut random, &mut case, most);
                case.decode(&gpu);
                let mut case = Case::random(&mut random, kernel, Span { position: 140, rows: 40 });
                whole_numbers(&mut random, &mut case, most);
                case.prefill(&gpu);
            }
        }
    }
}

#[test]
fn scores_that_rise_and_fall_along_the_context() {
    let mut random = Random(7);
    for gpu in open_both() {
        let short = kernel([2, 1, 8], 600, KvType::F32);
        // Here a slot of the merge has several stretches, and with the window some of which nothing is seen before others.
        let long = kernel([2, 1, 256], 1400, KvType::F32);
        let windowed = Attention { window: 300, ..long };
        for slope in [-2.0, 2.0] {
            for (kernel, rows) in [(short, 1), (short, 33), (long, 1), (windowed, 1)] {
                let span = Span { position: kernel.context - rows, rows };
                let mut case = Case::sloping(&mut random, kernel, span, slope);
                if rows == 1 { case.decode(&gpu) } else { case.prefill(&gpu) }
            }
        }
    }
}

#[test]
fn equal_scores_weigh_every_position_alike() {
    let mut random = Random(8);
    for gpu in open_both() {
        for kv_type in KvType::PLAIN {
            for rows in [1, 45] {
                let kernel = kernel([9, 3, 64], 300, kv_type);
                let mut case = Case::random(&mut random, kernel, Span { position: 250, rows });
                case.q.fill(0.0);
                case.exact_scores = true;
                if rows == 1 { case.decode(&gpu) } else { case.prefill(&gpu) }
            }
        }
    }
}

#[test]
fn decode_reads_keys_and_values_once() {
    let [gpu, _] = open_both();
    let kernel = kernel([9, 3, 64], 2048, KvType::F16);
    let traffic = kernel.decode(gpu.capabilities()).traffic.bytes(Span { position: 999, rows: 1 });
    assert_eq!(traffic, 1000 * 2 * KvType::F16.bytes(1, 3, 64) + 9 * 64 * 4);
}

#[test]
fn windows_as_long_as_the_context_so_far_and_shorter_and_longer() {
    let mut random = Random(9);
    for gpu in open_both() {
        for (i, window) in [1, 64, 130, 300].into_iter().enumerate() {
            let kernel = Attention { window, ..kernel([6, 2, 16], 300, KvType::PLAIN[i % 2]) };
            for position in [0, 1, window - 1, window, window + 1, 128, 299] {
                if position < 300 {
                    Case::random(&mut random, kernel, Span { position, rows: 1 }).decode(&gpu);
                }
            }
            for (position, rows) in [(0, 70), (window.min(250), 41), (130, 33), (63, 1), (268, 32)] {
                Case::random(&mut random, kernel, Span { position, rows }).prefill(&gpu);
            }
        }
    }
}

#[test]
fn rings_that_went_round_many_times() {
    let mut random = Random(10);
    for gpu in open_both() {
        for (i, (window, shape)) in [(1, [2, 1, 8]), (40, [6, 3, 16]), (200, [3, 1, 24])].into_iter().enumerate() {
            let kernel = windowed(window, shape, 2000, KvType::PLAIN[i % 2]);
            let round = kernel.capacity;
            // Whole stretches have nothing in the window: at its borders, where it lies in two ends of the ring, and anywhere.
            for position in [round - 1, round, round + 1, 2 * round + window / 2, 3 * round - 1, 127, 128, 1999] {
                Case::random(&mut random, kernel, Span { position, rows: 1 }).decode(&gpu);
            }
            for (position, rows) in [(0, 256), (round - 10, 20), (256, 256), (3 * round - 100, 256), (1999, 1)] {
                Case::random(&mut random, kernel, Span { position, rows }).prefill(&gpu);
            }
        }
    }
}

#[test]
fn what_lies_in_a_ring_from_before_one_went_back_is_not_seen() {
    let mut random = Random(11);
    for gpu in open_both() {
        for (i, window) in [1, 150].into_iter().enumerate() {
            let kernel = windowed(window, [4, 2, 16], 1500, KvType::PLAIN[i % 2]);
            for position in [5, 129, 700, 1111] {
                let mut case = Case::random(&mut random, kernel, Span { position, rows: 1 });
                case.stale = 255;
                case.decode(&gpu);
                let rows = 1 + random.below(200) as u32;
                let mut case = Case::random(&mut random, kernel, Span { position, rows });
                case.stale = 256 - rows;
                case.prefill(&gpu);
            }
        }
    }
}

#[test]
fn soft_caps_and_slopes_alone_and_with_windows() {
    let mut random = Random(12);
    for gpu in open_both() {
        // Head counts of no power of two have slopes of two series.
        let cases = [
            ([12, 12, 16], 0.5, 4.0, 0),
            ([5, 1, 24], 0.0, 8.0, 0),
            ([40, 8, 8], 2.0, 0.0, 140),
            ([3, 3, 64], 0.0, 8.0, 20),
            ([1, 1, 8], 1.0, 8.0, 33),
        ];
        for (i, (shape, soft_cap, alibi, window)) in cases.into_iter().enumerate() {
            let plain = kernel(shape, 600, KvType::PLAIN[i % 2]);
            let capacity = if window > 0 { window + 256 } else { 600 };
            // Scores large enough that the cap matters.
            let kernel = Attention { soft_cap, alibi, window, capacity, scale: 4.0 * plain.scale, ..plain };
            for position in [0, 100, 301 + random.below(200) as u32] {
                Case::random(&mut random, kernel, Span { position, rows: 1 }).decode(&gpu);
            }
            let position = random.below(500) as u32;
            Case::random(&mut random, kernel, Span { position, rows: 45 }).prefill(&gpu);
        }
    }
}

const BLOCKS: [KvType; 2] = [KvType::Q8_0, KvType::Q4_0];

/// Caches in blocks, whose rows have even and odd numbers of them, in whole contexts and in rings.
#[test]
fn caches_in_blocks() {
    let mut random = Random(14);
    for gpu in open_both() {
        for (i, shape) in [[9, 3, 64], [2, 1, 32], [4, 4, 96], [8, 1, 256], [6, 2, 160], [32, 8, 128]].into_iter().enumerate() {
            for kv_type in BLOCKS {
                let (kernel, positions) = match i % 2 {
                    0 => (kernel(shape, 400, kv_type), [0, 127, 300]),
                    _ => (windowed(40, shape, 1200, kv_type), [5, 296, 900]),
                };
                for position in positions {
                    Case::random(&mut random, kernel, Span { position, rows: 1 }).decode(&gpu);
                }
                let span = Span { position: positions[1], rows: 1 + 17 * i as u32 };
                Case::random(&mut random, kernel, span).prefill(&gpu);
            }
        }
    }
}

/// f16 becomes f32 exactly, whether words are unpacked or numbers read.
#[test]
fn prefill_reads_f16_to_the_same_bits_with_and_without_it() {
    let open = |tier| {
        let adapter = AdapterChoice { name: None, tier: Some(tier) };
        pollster::block_on(Gpu::open(GpuOptions { adapter, ..GpuOptions::default() }))
    };
    let with = match open(Tier::B) {
        Err(GpuError::TierUnavailable { .. }) => return eprintln!("skipped: no f16 here"),
        gpu => gpu.expect("tier B"),
    };
    let without = open(Tier::C).expect("tier C");
    let mut random = Random(31);
    for shape in [[9, 3, 64], [4, 4, 80], [8, 1, 256], [3, 1, 8]] {
        let kernel = kernel(shape, 300, KvType::F16);
        let mut case = Case::random(&mut random, kernel, Span { position: 97, rows: 40 });
        // Some too small for a normal f16.
        case.k.iter_mut().chain(&mut case.v).step_by(7).for_each(|x| *x *= 1e-5);
        let prefill = |gpu: &Gpu| kernel.prefill(gpu.capabilities(), Tiling::Shared);
        assert_ne!(prefill(&with).shader.wgsl, prefill(&without).shader.wgsl);
        let [one, other] = [&with, &without].map(|gpu| {
            let [k, v] = case.caches(gpu);
            let q = gpu.upload("q", &case.q).unwrap();
            let y = gpu.upload("y", &vec![UNTOUCHED; case.q.len()]).unwrap();
            let bindings = [&q, &k, &v, &y, &step(gpu, case.span)].map(Buffer::whole);
            run(gpu, &prefill(gpu), &bindings, case.span, &y).iter().map(|y| y.to_bits()).collect::<Vec<_>>()
        });
        assert!(one == other, "{kernel:?}");
    }
}

#[test]
fn a_cache_in_blocks_is_read_in_its_own_bytes() {
    for (kv_type, row) in [(KvType::Q8_0, 64 + 4), (KvType::Q4_0, 32 + 4)] {
        let kernel = kernel([9, 3, 64], 2048, kv_type);
        let traffic = kernel.prefill(Capabilities::default(), Tiling::Shared).traffic.bytes(Span { position: 999, rows: 1 });
        assert_eq!(traffic, 1000 * 2 * 3 * row + 9 * 64 * 4);
        assert_eq!(kv_type.bytes(1, 3, 64), 3 * row);
    }
}
