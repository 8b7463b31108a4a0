//! Matrix times vectors against its `f64` twin.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
    pub mod weights;
}

use common::gpu::{Random, open_both, run};
use common::weights::{Matrix, SORTS, absolute, worst_sum};
use kinglet::gpu::{Gpu, Span};
use kinglet::kernels::{Arithmetic, Finish, Format, Matvec, MatvecVariant, Outcome, Step, matvec_reference};

/// Largest error, relative to the sum of the products' sizes.
const TOLERANCE: f64 = 5e-7;

/// What a kernel must neither read nor write.
const UNTOUCHED: f32 = 1e30;

fn check(gpu: &Gpu, random: &mut Random, kernel: Matvec) {
    for arithmetic in [Arithmetic::F32, Arithmetic::Unshifted].into_iter().take(if kernel.vectors == 1 { 2 } else { 1 }) {
        check_variant(gpu, random, Matvec { variant: MatvecVariant { arithmetic, ..kernel.variant }, ..kernel });
    }
}

fn check_variant(gpu: &Gpu, random: &mut Random, kernel: Matvec) {
    let [rows, k, vectors] = [kernel.rows, kernel.k, kernel.vectors].map(|n| n as usize);
    let Finish::Store { y_stride, y_first, accumulate } = kernel.finish else { panic!("{kernel:?} does not store") };
    let [x_stride, y_stride, y_first] = [kernel.x_stride, y_stride, y_first].map(|n| n as usize);
    let matrix = Matrix::random(gpu, random, kernel.format, kernel.rows, kernel.k);
    let mut x = vec![UNTOUCHED; vectors * x_stride];
    x.chunks_exact_mut(x_stride).for_each(|x| x[..k].copy_from_slice(&random.vector(k)));
    let mut y = vec![UNTOUCHED; vectors * y_stride];
    y.chunks_exact_mut(y_stride).for_each(|y| y[y_first..][..rows].copy_from_slice(&random.vector(rows)));

    let packed: Vec<f64> = x.chunks_exact(x_stride).flat_map(|x| x[..k].iter().map(|&x| f64::from(x))).collect();
    let mut expected = matvec_reference(&matrix.values, &packed, rows, k);
    let mut sizes = matvec_reference(&absolute(&matrix.values), &absolute(&packed), rows, k);
    if accumulate {
        let before = y.chunks_exact(y_stride).flat_map(|y| &y[y_first..][..rows]);
        for ((expected, size), before) in expected.iter_mut().zip(&mut sizes).zip(before) {
            *expected += f64::from(*before);
            // A term of the sum like all others.
            *size += f64::from(before.abs());
        }
    }
    let x_buffer = gpu.upload("x", &x).unwrap();
    let y_buffer = gpu.upload("y", &y).unwrap();
    let step = gpu.upload("step", &[Step { position: 0, rows: 1, drawn: 0, token: 0 }]).unwrap();
    let bindings = [&matrix.quants, &matrix.scales, &x_buffer, &step, &y_buffer].map(|buffer| buffer.whole());
    let after = run(gpu, &kernel.dispatch(gpu.capabilities()), &bindings, Span { position: 0, rows: 1 }, &y_buffer);
    let actual: Vec<f32> = after[..vectors * y_stride].chunks_exact(y_stride).flat_map(|y| y[y_first..][..rows].to_vec()).collect();
    let error = worst_sum(&actual, &expected, &sizes);
    assert!(error < TOLERANCE, "{kernel:?} on {}: error {error}", gpu.info().name);
    for y in after[..vectors * y_stride].chunks_exact(y_stride) {
        let padded = y_first + rows.next_multiple_of(4);
        assert!(y[..y_first].iter().chain(&y[padded..]).all(|y| *y == UNTOUCHED), "{kernel:?} wrote outside of its rows");
    }
}

fn kernel(format: Format, rows: u32, k: u32, vectors: u32) -> Matvec {
    let padded = rows.next_multiple_of(4);
    let finish = Finish::Store { y_stride: padded, y_first: 0, accumulate: false };
    Matvec {
        format,
        rows,
        k,
        vectors,
        x_stride: k,
        norm: None,
        experts: None,
        variant: Default::default(),
        outcome: Outcome::PLAIN,
        finish,
    }
}

#[test]
fn every_number_of_vectors_and_odd_shapes() {
    for (which, gpu) in open_both().into_iter().enumerate() {
        let mut random = Random(1);
        for format in Format::ALL {
            // Every number of vectors with every sort of format; each format with one vector here and with several there.
            let some = [1, 2 + random.below(7) as u32][which];
            for vectors in (1..=8).filter(|vectors| SORTS.contains(&format) || *vectors == some) {
                let rows = [1, 2, 3, 5, 7, 13, 66, 129][random.below(8) as usize];
                let blocks = [1, 2, 3, 9, 17, 33][random.below(6) as usize];
                let k = u32::next_multiple_of(32 * blocks, format.block_columns());
                let plain = kernel(format, rows, k, vectors);
                let y_first = 4 * random.below(3) as u32;
                let y_stride = y_first + rows.next_multiple_of(4) + 4;
                let finish = Finish::Store { y_stride, y_first, accumulate: vectors % 2 == 0 };
                check(
                    &gpu,
                    &mut random,
                    Matvec {
                        x_stride: plain.k + 4 * (vectors % 3),
                        experts: None,
                        variant: Default::default(),
                        outcome: Outcome::PLAIN,
                        finish,
                        ..plain
                    },
                );
            }
        }
    }
}

#[test]
fn one_block_and_every_width_of_the_group() {
    for gpu in open_both() {
        let mut random = Random(2);
        for format in SORTS {
            for (rows, columns) in [(1, 8), (2, 32), (3, 240), (5, 256), (1, 992), (6, 1024), (3, 2032), (5, 4096)] {
                check(&gpu, &mut random, kernel(format, rows, u32::next_multiple_of(columns, format.block_columns()), 1));
            }
        }
    }
}

#[test]
fn every_spread_and_workgroup() {
    for gpu in open_both() {
        let mut random = Random(3);
        for (workgroup, spread) in [(32, 1), (64, 2), (64, 4), (128, 2), (256, 4), (64, 0), (128, 0)] {
            let variant = MatvecVariant { workgroup, spread, ..MatvecVariant::default() };
            for (rows, columns) in [(1, 32), (13, 576), (577, 96), (66, 2048)] {
                for format in [Format::Q4_1, Format::F16] {
                    check(&gpu, &mut random, Matvec { variant, ..kernel(format, rows, columns, 1) });
                }
            }
        }
    }
}

#[test]
fn few_rows_are_spread_until_a_gpu_is_busy() {
    let variant = MatvecVariant { spread: 0, ..MatvecVariant::default() };
    let workgroups = |rows, variant| Matvec { variant, ..kernel(Format::Q4_0, rows, 576, 1) }.workgroups();
    for (rows, plain, spread) in [(576, 5, 36), (1536, 12, 96), (3072, 24, 96), (49_152, 384, 384)] {
        assert_eq!([workgroups(rows, MatvecVariant::default()), workgroups(rows, variant)], [plain, spread], "{rows} rows");
    }
}

#[test]
fn more_workgroups_than_one_dimension_holds() {
    // 65,535 workgroups of 32 quads each, and one more, all zero but for the last row.
    let [gpu, _] = open_both();
    let rows = 65_535 * 128 + 4;
    let kernel = kernel(Format::BF16, rows, 8, 1);
    let planes = kernel.format.planes(rows, 8);
    let quants = gpu.buffer("quants", planes.quants).unwrap();
    // Row 3 of the last quad: 1, 0, 0, …
    gpu.write(&quants, planes.quants - 64 + 12, &0x3f80u32.to_le_bytes());
    let x = gpu.upload("x", &[7f32, 1., 1., 1., 1., 1., 1., 1.]).unwrap();
    let y = gpu.upload("y", &vec![UNTOUCHED; rows as usize]).unwrap();
    let bindings = [&quants, &x, &x, &x, &y].map(|buffer| buffer.whole());
    let after = run(&gpu, &kernel.dispatch(gpu.capabilities()), &bindings, Span { position: 0, rows: 1 }, &y);
    let (last, others) = after.split_last().unwrap();
    assert_eq!(*last, 7.0);
    assert!(others.iter().all(|y| *y == 0.0));
}
