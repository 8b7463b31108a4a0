//! Repacking: GGUF bytes through the GPU and back must mean the same weights, bit for bit.

#[allow(dead_code, reason = "shared by all GPU tests")]
mod common {
    pub mod gpu;
    pub mod weights;
}

use common::gpu::{Random, download, open};
use common::weights::{dequantize, repack, repack_into};
use kinglet::kernels::{Format, Reorder};

/// The weight at (row, column), read from the planes as `format.rs` and the fragments in `shaders/quant/` describe them.
fn weight(format: Format, quants: &[u32], scales: &[u16], k: usize, row: usize, column: usize) -> f32 {
    let (quad, r) = (row / 4, row % 4);
    let (unit, c) = (quad * (k / 8) + column / 8, column % 8);
    let block = quad * (k / 32) + column / 32;
    let half = |bits: u16| half::f16::from_bits(bits).to_f32();
    let word = |words_per_unit: usize, i: usize| quants[(unit * words_per_unit + i) * 4 + r];
    let nibble = || f32::from((word(1, 0) >> (8 * (c % 4) + 4 * (c / 4))) as u8 & 15);
    match format {
        Format::F32 => f32::from_bits(word(8, c)),
        Format::F16 => half((word(4, c / 2) >> (16 * (c % 2))) as u16),
        Format::BF16 => f32::from_bits(word(4, c / 2) >> (16 * (c % 2)) << 16),
        Format::Q4_0 => half(scales[4 * block + r]) * (nibble() - 8.0),
        Format::Q4_1 => half(scales[8 * block + 2 * r]) * nibble() + half(scales[8 * block + 2 * r + 1]),
        Format::Q8_0 => half(scales[4 * block + r]) * f32::from((word(2, c / 4) >> (8 * (c % 4))) as i8),
    }
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
                for head in 0..if format == Format::Q4_1 { 2 } else { 1 } {
                    finite(&mut block[2 * head + 1], 0x7c);
                    if i % 3 == head {
                        // Subnormal, of either sign.
                        block[2 * head + 1] &= 0x83;
                    }
                }
            }
        }
    }
    bytes
}

fn check(format: Format, rows: u32, k: u32, quads_a_run: u32) {
    let gpu = open();
    let mut random = Random(u64::from(rows) * 1000 + u64::from(k));
    let bytes = bytes(&mut random, format, rows, k);
    let [quants, scales] = repack(&gpu, format, &bytes, rows, k, quads_a_run);
    let (quants, scales): (Vec<u32>, Vec<u16>) = (download(&gpu, &quants), download(&gpu, &scales));
    for (i, expected) in dequantize(format, &bytes).into_iter().enumerate() {
        let (row, column) = (i / k as usize, i % k as usize);
        let actual = weight(format, &quants, &scales, k as usize, row, column);
        assert_eq!(
            actual.to_bits(),
            expected.to_bits(),
            "{format:?} {rows} x {k}: row {row}, column {column}: {actual} != {expected}"
        );
    }
    // The rows that fill the last quad are zero.
    for row in rows..rows.next_multiple_of(4) {
        for column in 0..k as usize {
            let filled = weight(format, &quants, &scales, k as usize, row as usize, column);
            assert_eq!(filled, 0.0, "{format:?} {rows} x {k}: filling row {row}, column {column}");
        }
    }
}

#[test]
fn every_format_keeps_its_bits() {
    for format in Format::ALL {
        let block = format.block_columns();
        for (rows, blocks) in [(1, 1), (2, 1), (3, 3), (4, 1), (5, 2), (7, 5), (66, 9)] {
            check(format, rows, blocks * block, u32::MAX);
        }
    }
}

#[test]
fn runs_join_at_quad_borders() {
    for format in Format::ALL {
        for (rows, blocks, quads) in [(13, 3, 1), (21, 1, 2), (130, 5, 7)] {
            check(format, rows, blocks * format.block_columns(), quads);
        }
    }
}

#[test]
fn matrices_interleave_quad_by_quad() {
    let gpu = open();
    for format in Format::ALL {
        let (rows, k) = (20, 3 * format.block_columns());
        let mut random = Random(31);
        let both = [0; 2].map(|_| bytes(&mut random, format, rows, k));
        let planes = format.planes(2 * rows, k);
        let buffers = [gpu.buffer("quants", planes.quants).unwrap(), gpu.buffer("scales", planes.scales).unwrap()];
        for (first, bytes) in both.iter().enumerate() {
            repack_into(&gpu, &buffers, format, bytes, [rows, k, 2], [first as u32, 2], None);
        }
        let (quants, scales): (Vec<u32>, Vec<u16>) = (download(&gpu, &buffers[0]), download(&gpu, &buffers[1]));
        for (which, bytes) in both.iter().enumerate() {
            for (i, expected) in dequantize(format, bytes).into_iter().enumerate() {
                let (row, column) = (i / k as usize, i % k as usize);
                let stored = row / 4 * 8 + 4 * which + row % 4;
                let actual = weight(format, &quants, &scales, k as usize, stored, column);
                assert_eq!(actual.to_bits(), expected.to_bits(), "{format:?}, matrix {which}: row {row}, column {column}");
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
            let planes = format.planes(rows, k);
            let buffers = [gpu.buffer("quants", planes.quants).unwrap(), gpu.buffer("scales", planes.scales).unwrap()];
            let reorder = Reorder { head_rows, rope_dims };
            repack_into(&gpu, &buffers, format, &bytes, [rows, k, 2 * head_rows / 4], [0, 1], Some(reorder));
            let (quants, scales): (Vec<u32>, Vec<u16>) = (download(&gpu, &buffers[0]), download(&gpu, &buffers[1]));
            let values = dequantize(format, &bytes);
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
                    let row = (head * head_rows + element) as usize;
                    for column in 0..k as usize {
                        let actual = weight(format, &quants, &scales, k as usize, (head * head_rows + stored) as usize, column);
                        assert_eq!(actual.to_bits(), values[row * k as usize + column].to_bits(), "{format:?}: row {row}");
                    }
                }
            }
        }
    }
}
