//! Matrix times many token rows against the twin of matvec.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
    pub mod weights;
}

use common::gpu::{Random, open_both, run, tilings};
use common::weights::{Matrix, SORTS, absolute, worst_sum};
use kinglet::gpu::{Gpu, Span};
use kinglet::kernels::{Arithmetic, Finish, Format, Matmul, MatmulVariant, Outcome, Step, Tiling, matvec_reference};

/// Largest error, relative to the sum of the products' sizes.
const TOLERANCE: f64 = 5e-7;

/// What a kernel must neither read nor write.
const UNTOUCHED: f32 = 1e30;

/// Runs `kernel` in every tiling that the device has, and where `tokens` is odd with weights read in both ways, on `tokens` rows in buffers that
/// hold three rows more.
fn check(gpu: &Gpu, random: &mut Random, kernel: Matmul, tokens: u32) {
    // Workgroups of whole subgroups, or as if these were the largest there are.
    let most = gpu.info().subgroup_sizes.map_or(64, |[_, most]| most);
    let subgroup = if tokens.is_multiple_of(3) { 64 } else { most };
    let variants = tilings(gpu).into_iter().flat_map(|tiling| match tiling {
        Tiling::Shared => vec![(tiling, 1)],
        Tiling::Rows { .. } => vec![(tiling, 1), (tiling, 2)],
    });
    for (tiling, quads) in variants {
        let before = random.0;
        for arithmetic in [Arithmetic::F32, Arithmetic::Unshifted].into_iter().take(1 + tokens as usize % 2) {
            // The same numbers.
            random.0 = before;
            let variant = MatmulVariant { tiling, arithmetic, subgroup, quads };
            check_variant(gpu, random, Matmul { variant, ..kernel }, tokens);
        }
    }
}

fn check_variant(gpu: &Gpu, random: &mut Random, kernel: Matmul, tokens: u32) {
    let [rows, k, capacity] = [kernel.rows, kernel.k, tokens + 3].map(|n| n as usize);
    let Finish::Store { y_stride, y_first, accumulate } = kernel.finish else { panic!("{kernel:?} does not store") };
    let [x_stride, y_stride, y_first] = [kernel.x_stride, y_stride, y_first].map(|n| n as usize);
    let used = tokens as usize;
    let matrix = Matrix::random(gpu, random, kernel.format, kernel.rows, kernel.k);
    let mut x = vec![UNTOUCHED; capacity * x_stride];
    x.chunks_exact_mut(x_stride).take(used).for_each(|x| x[..k].copy_from_slice(&random.vector(k)));
    let mut y = vec![UNTOUCHED; capacity * y_stride];
    y.chunks_exact_mut(y_stride).take(used).for_each(|y| y[y_first..][..rows].copy_from_slice(&random.vector(rows)));

    let packed: Vec<f64> = x.chunks_exact(x_stride).take(used).flat_map(|x| x[..k].iter().map(|&x| f64::from(x))).collect();
    let mut expected = matvec_reference(&matrix.values, &packed, rows, k);
    let mut sizes = matvec_reference(&absolute(&matrix.values), &absolute(&packed), rows, k);
    if accumulate {
        let before = y.chunks_exact(y_stride).take(used).flat_map(|y| &y[y_first..][..rows]);
        for ((expected, size), before) in expected.iter_mut().zip(&mut sizes).zip(before) {
            *expected += f64::from(*before);
            // A term of the sum like all others.
            *size += f64::from(before.abs());
        }
    }
    let x_buffer = gpu.upload("x", &x).unwrap();
    let y_buffer = gpu.upload("y", &y).unwrap();
    let step = gpu.upload("step", &[Step { position: 11, rows: tokens, drawn: 0, token: 0 }]).unwrap();
    let bindings = [&matrix.quants, &matrix.scales, &x_buffer, &step, &y_buffer].map(|buffer| buffer.whole());
    // The grid may be larger than the step: the kernel goes by the step.
    let span = Span { position: 11, rows: capacity as u32 };
    let after = run(gpu, &kernel.dispatch(gpu.capabilities()), &bindings, span, &y_buffer);
    let after: Vec<_> = after[..capacity * y_stride].chunks_exact(y_stride).collect();
    let actual: Vec<f32> = after.iter().take(used).flat_map(|y| y[y_first..][..rows].to_vec()).collect();
    let error = worst_sum(&actual, &expected, &sizes);
    assert!(error < TOLERANCE, "{kernel:?}, {tokens} tokens on {}: error {error}", gpu.info().name);
    for (token, y) in after.iter().enumerate() {
        let padded = if token < used { y_first + rows.next_multiple_of(4) } else { y_first };
        assert!(y[..y_first].iter().chain(&y[padded..]).all(|y| *y == UNTOUCHED), "{kernel:?}, {tokens} tokens: wrote outside");
    }
}

fn kernel(format: Format, rows: u32, k: u32) -> Matmul {
    let padded = rows.next_multiple_of(4);
    Matmul {
        format,
        rows,
        k,
        x_stride: k,
        tile_tokens: 64,
        experts: None,
        variant: Default::default(),
        outcome: Outcome::PLAIN,
        finish: Finish::Store { y_stride: padded, y_first: 0, accumulate: false },
    }
}

#[test]
fn odd_shapes_of_every_format() {
    for (which, gpu) in open_both().into_iter().enumerate() {
        let mut random = Random(4);
        for format in Format::ALL {
            let all = SORTS.contains(&format);
            for (i, rows) in [1, 66, 2, 3, 5, 63, 131].into_iter().enumerate().filter(|(i, _)| all || *i == which) {
                let columns = [8, 40, 96, 160, 224, 288][random.below(6) as usize];
                let plain = kernel(format, rows, u32::next_multiple_of(columns, format.block_columns()));
                let y_first = 4 * random.below(3) as u32;
                let tokens = 1 + random.below(140) as u32;
                let y_stride = y_first + rows.next_multiple_of(4) + 8;
                let finish = Finish::Store { y_stride, y_first, accumulate: i % 2 == 0 };
                check(
                    &gpu,
                    &mut random,
                    Matmul { x_stride: plain.k + 4 * (i as u32 % 3), tile_tokens: [32, 64][i % 2], finish, ..plain },
                    tokens,
                );
            }
        }
    }
}

#[test]
fn every_number_of_token_rows() {
    let [gpu, _] = open_both();
    let mut random = Random(5);
    for tokens in 1..=134 {
        for tile_tokens in [32, 64] {
            check(&gpu, &mut random, Matmul { tile_tokens, ..kernel(Format::Q4_0, 13, 96) }, tokens);
        }
    }
}
