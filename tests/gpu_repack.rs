//! Repacking: GGUF bytes through the GPU and back must mean the same weights, exactly.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
    pub mod types;
    pub mod weights;
}

use common::gpu::{Random, download, open, run};
use common::types;
use common::weights::{dequantize, halves, repack, repack_into};
use kinglet::gpu::{Buffer, Dispatch, Gpu, Grid, Plan, Span, Traffic};
use kinglet::kernels::{Embed, Format, Reorder, Repack, RepackChunk};
use kinglet::weights::format_of;
use kinglet::weights::types::TensorType;

/// The weight at (row, column) of a matrix of plain numbers, read from its plane as the fragments in `shaders/quant/` describe it.
fn plain_weight(format: Format, quants: &[u32], k: usize, row: usize, column: usize) -> f32 {
    let unit = row / 4 * (k / 8) + column / 8;
    let word = |words_per_unit: usize, i: usize| quants[(unit * words_per_unit + i) * 4 + row % 4];
    let c = column % 8;
    match format {
        Format::F16 => half::f16::from_bits((word(4, c / 2) >> (16 * (c % 2))) as u16).to_f32(),
        Format::BF16 => f32::from_bits(word(4, c / 2) >> (16 * (c % 2)) << 16),
        _ => f32::from_bits(word(8, c)),
    }
}

/// All weights of a matrix, rows that fill the last quad too. Formats with scales are read by the fragments that every kernel reads them with,
/// which have nothing to round but a sum with a minimum: the numbers are the reference's own. Plain numbers are read here, because a GPU
/// may take the smallest for zero.
fn unpacked(gpu: &Gpu, format: Format, [quants, scales]: &[Buffer; 2], rows: u32, k: u32) -> Vec<f32> {
    let rows = rows.next_multiple_of(4);
    if !(Repack { from: format, format, k, reorder: None }).has_scales() {
        let quants: Vec<u32> = download(gpu, quants);
        let k = k as usize;
        return (0..rows as usize * k).map(|i| plain_weight(format, &quants, k, i / k, i % k)).collect();
    }
    let ids = gpu.upload("ids", &(0..rows).collect::<Vec<_>>()).unwrap();
    let y = gpu.buffer("y", 4 * u64::from(rows * k)).unwrap();
    let kernel = Embed { format, first_row: 0, rows, k, y_stride: k, scale: 1.0, positions: false };
    let bindings = [quants, scales, &ids, &y].map(Buffer::whole);
    run(gpu, &kernel.dispatch(), &bindings, Span { position: 0, rows }, &y)
}

/// Any bits at all, except that f16 and f32 numbers stay finite: subnormal, negative and huge ones too.
fn bytes(random: &mut Random, format: Format, rows: u32, k: u32) -> Vec<u8> {
    let blocks = rows * (k / format.block_columns());
    let mut bytes: Vec<u8> = (0..blocks * format.gguf_block_bytes()).map(|_| random.bits() as u8).collect();
    let finite = |high: &mut u8, mask: u8| {
        if *high & mask == mask {
            *high &= !0x20;
        }
    };
    match format {
        Format::F32 => bytes.chunks_exact_mut(4).for_each(|b| finite(&mut b[3], 0x7f)),
        Format::F16 => bytes.chunks_exact_mut(2).for_each(|b| finite(&mut b[1], 0x7c)),
        Format::BF16 => bytes.chunks_exact_mut(2).for_each(|b| finite(&mut b[1], 0x7f)),
        _ => {
            for (i, block) in bytes.chunks_exact_mut(format.gguf_block_bytes() as usize).enumerate() {
                if format == Format::MXFP4 {
                    block[0] = block[0].clamp(10, 240);
                }
                if format == Format::IQ1_M {
                    finite(&mut block[55], 0x70);
                }
                for (which, &at) in halves(format).iter().enumerate() {
                    finite(&mut block[at + 1], 0x7c);
                    if i % 3 == which {
                        // Subnormal, of either sign.
                        block[at + 1] &= 0x83;
                    }
                }
            }
        }
    }
    bytes
}

/// Zeros are equal whatever their signs are: a sum with an offset has no negative zero.
fn assert_same(actual: &[f32], expected: &[f32], k: u32, what: &str) {
    assert_eq!(actual.len(), expected.len());
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let at = (i / k as usize, i % k as usize);
        assert!(
            actual == expected,
            "{what}: {at:?}: {actual} ({:08x}) != {expected} ({:08x})",
            actual.to_bits(),
            expected.to_bits()
        );
    }
}

fn check(gpu: &Gpu, format: Format, rows: u32, k: u32, quads_a_run: u32) {
    let mut random = Random(u64::from(rows) * 1000 + u64::from(k));
    let bytes = bytes(&mut random, format, rows, k);
    let planes = repack(gpu, format, &bytes, rows, k, quads_a_run);
    let actual = unpacked(gpu, format, &planes, rows, k);
    let (actual, filled) = actual.split_at((rows * k) as usize);
    assert_same(actual, &dequantize(format, &bytes), k, &format!("{format:?} {rows} x {k}"));
    // The rows that fill the last quad are zero.
    assert!(filled.iter().all(|weight| weight.abs() < 1e-36), "{format:?} {rows} x {k}: {filled:?}");
}

/// But for the largest and smallest powers of two of MXFP4, which GPUs may take for infinity and zero.
#[test]
fn every_type_means_what_its_inventors_say() {
    let gpu = open();
    for types::Sample { kind, bytes, numbers } in types::samples() {
        let format = format_of(kind).unwrap_or_else(|| panic!("{kind} does not run"));
        for rows in [1, 4] {
            let k = numbers.len() as u32 / rows;
            let actual = unpacked(&gpu, format, &repack(&gpu, format, &bytes, rows, k, u32::MAX), rows, k);
            for (i, (actual, number)) in actual.iter().zip(&numbers).enumerate() {
                let beyond = kind == TensorType::MXFP4 && !(10..=240).contains(&bytes[i / 32 * 17]);
                assert!(beyond || actual == number, "{kind} in {rows} rows: number {i}: {actual} != {number}");
            }
        }
    }
}

/// A matrix of one type stored in another that holds it.
fn wider(gpu: &Gpu, [from, format]: [Format; 2], bytes: &[u8], rows: u32, k: u32) -> [Buffer; 2] {
    let kernel = Repack { from, format, k, reorder: None };
    let planes = empty(gpu, format, rows, k);
    let chunk = kernel.chunk(RepackChunk { first_quad: 0, quad_step: 1, rows });
    let inputs = [gpu.upload("staged", bytes).unwrap(), gpu.upload("chunk", &chunk).unwrap()];
    let bindings: Vec<_> = inputs.iter().chain(&planes).map(Buffer::whole).collect();
    let mut plan = Plan::default();
    let grid = Grid::Linear(kernel.workgroups(rows));
    plan.push(gpu, &Dispatch { shader: kernel.shader(), grid, traffic: Traffic::default() }, &bindings);
    gpu.run(&plan, Span { position: 0, rows: 1 });
    planes
}

#[test]
fn wider_types_hold_the_same_numbers() {
    let gpu = open();
    let mut pairs = 0;
    for from in Format::ALL {
        for to in Format::ALL.into_iter().filter(|to| *to != from && to.holds(from).is_some()) {
            pairs += 1;
            for (rows, blocks) in [(3, 1), (16, 5), (34, 2)] {
                let k = blocks * from.block_columns();
                let bytes = bytes(&mut Random(40 + u64::from(rows)), from, rows, k);
                let actual = unpacked(&gpu, to, &wider(&gpu, [from, to], &bytes, rows, k), rows, k);
                let narrow = unpacked(&gpu, from, &repack(&gpu, from, &bytes, rows, k, u32::MAX), rows, k);
                let what = format!("{from:?} as {to:?}, {rows} x {k}");
                assert_same(&actual, &narrow, k, &what);
                assert_same(&actual[..(rows * k) as usize], &dequantize(from, &bytes), k, &what);
            }
        }
    }
    assert!(pairs >= 6, "{pairs}");
}

#[test]
fn every_format_keeps_its_numbers() {
    let gpu = open();
    for format in Format::ALL {
        let block = format.block_columns();
        for (rows, blocks) in [(1, 1), (2, 1), (3, 3), (4, 1), (5, 2), (7, 5), (66, 1)] {
            check(&gpu, format, rows, blocks * block, u32::MAX);
        }
    }
}

#[test]
fn runs_join_at_quad_borders() {
    let gpu = open();
    for format in Format::ALL {
        for (rows, blocks, quads) in [(13, 3, 1), (21, 1, 2), (46, 2, 7)] {
            check(&gpu, format, rows, blocks * format.block_columns(), quads);
        }
    }
}

/// Empty planes of a matrix.
fn empty(gpu: &Gpu, format: Format, rows: u32, k: u32) -> [Buffer; 2] {
    let planes = format.planes(rows, k);
    [gpu.buffer("quants", planes.quants).unwrap(), gpu.buffer("scales", planes.scales).unwrap()]
}

/// Row `row` of a matrix.
fn row(weights: &[f32], k: u32, row: u32) -> &[f32] {
    &weights[(row * k) as usize..][..k as usize]
}

#[test]
fn matrices_interleave_quad_by_quad() {
    let gpu = open();
    for format in Format::ALL {
        let (rows, k) = (20, 3 * format.block_columns());
        let mut random = Random(31);
        let both = [0; 2].map(|_| bytes(&mut random, format, rows, k));
        let planes = empty(&gpu, format, 2 * rows, k);
        for (first, bytes) in both.iter().enumerate() {
            repack_into(&gpu, &planes, format, bytes, [rows, k, 2], [first as u32, 2], None);
        }
        let actual = unpacked(&gpu, format, &planes, 2 * rows, k);
        for (which, bytes) in (0..).zip(&both) {
            let expected = dequantize(format, bytes);
            for r in 0..rows {
                let stored = row(&actual, k, r / 4 * 8 + 4 * which + r % 4);
                assert_same(stored, row(&expected, k, r), k, &format!("{format:?}, matrix {which}, row {r}"));
            }
        }
    }
}

#[test]
fn rows_that_turn_together_become_neighbours() {
    let gpu = open();
    for format in Format::ALL {
        for (head_rows, rope_dims) in [(8, 8), (24, 24), (40, 6), (80, 20), (64, 32)] {
            let (rows, k) = (3 * head_rows, format.block_columns());
            let bytes = bytes(&mut Random(32), format, rows, k);
            let planes = empty(&gpu, format, rows, k);
            let reorder = Reorder { head_rows, rope_dims };
            repack_into(&gpu, &planes, format, &bytes, [rows, k, 2 * head_rows / 4], [0, 1], Some(reorder));
            let actual = unpacked(&gpu, format, &planes, rows, k);
            let expected = dequantize(format, &bytes);
            for head in 0..3 {
                for element in 0..head_rows {
                    // Where an element of the file's head is found among pairs of neighbours.
                    let half = rope_dims / 2;
                    let stored = match element {
                        e if e < half => 2 * e,
                        e if e < rope_dims => 2 * (e - half) + 1,
                        e => e,
                    };
                    assert_eq!(reorder.source_row(head * head_rows + stored), head * head_rows + element);
                    let [stored, in_file] = [stored, element].map(|row| head * head_rows + row);
                    assert_same(row(&actual, k, stored), row(&expected, k, in_file), k, &format!("{format:?}: row {in_file}"));
                }
            }
        }
    }
}
