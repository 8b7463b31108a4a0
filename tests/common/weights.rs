//! Matrices for kernels under test: GGUF bytes, what they mean in plain words, and the planes that the repack kernel makes of them.

#![allow(dead_code, reason = "every test uses its own part")]

use super::gpu::Random;
use kinglet::gpu::{Buffer, Dispatch, Gpu, Grid, Plan, Span, Traffic};
use kinglet::kernels::{Format, Reorder, Repack, RepackChunk};
use kinglet::weights::dequant::dequantized;
use kinglet::weights::format_of;
use kinglet::weights::types::TensorType;

/// One format of each sort: where the format is not what a test is about, these stand for all.
pub const SORTS: [Format; 6] = [Format::F32, Format::F16, Format::Q4_0, Format::Q4_1, Format::Q4_K, Format::Q6_K];

/// A matrix on the device and its exact values.
pub struct Matrix {
    pub quants: Buffer,
    pub scales: Buffer,
    /// (rows, k)
    pub values: Vec<f64>,
}

impl Matrix {
    /// A random matrix.
    pub fn random(gpu: &Gpu, random: &mut Random, format: Format, rows: u32, k: u32) -> Self {
        let bytes = random.weights(format, rows, k);
        let [quants, scales] = repack(gpu, format, &bytes, rows, k, u32::MAX);
        Self { quants, scales, values: dequantize(format, &bytes).into_iter().map(f64::from).collect() }
    }
}

impl Random {
    /// Plausible GGUF bytes of `rows` × `k` weights: random quants, and finite scales that keep the weights near one.
    pub fn weights(&mut self, format: Format, rows: u32, k: u32) -> Vec<u8> {
        let numbers = rows as usize * k as usize;
        match format {
            Format::F32 => (0..numbers).flat_map(|_| self.signed().to_le_bytes()).collect(),
            Format::F16 => (0..numbers).flat_map(|_| half::f16::from_f32(self.signed()).to_le_bytes()).collect(),
            Format::BF16 => (0..numbers).flat_map(|_| half::bf16::from_f32(self.signed()).to_le_bytes()).collect(),
            _ => {
                let block_bytes = format.gguf_block_bytes() as usize;
                let blocks = numbers / format.block_columns() as usize;
                let mut bytes: Vec<u8> = (0..blocks * block_bytes).map(|_| self.bits() as u8).collect();
                // About what a scale is multiplied with, and more for K-quants: their weights' mean is not zero, and adds up.
                let quants = match format {
                    Format::TQ1_0 | Format::TQ2_0 | Format::Q1_0 | Format::Q2_0 => 1.0,
                    Format::Q4_K | Format::Q5_K | Format::Q6_K | Format::IQ4_XS => 6000.0,
                    Format::Q2_K | Format::Q3_K => 400.0,
                    Format::Q8_0 | Format::Q8_1 | Format::IQ4_NL | Format::IQ3_S => 127.0,
                    Format::IQ2_XXS | Format::IQ2_XS | Format::IQ2_S | Format::IQ3_XXS => 500.0,
                    _ => 31.0,
                };
                for block in bytes.chunks_exact_mut(block_bytes) {
                    for &at in halves(format) {
                        block[at..at + 2].copy_from_slice(&half::f16::from_f32(self.signed() * 3.0 / quants).to_le_bytes());
                    }
                    match format {
                        Format::MXFP4 => block[0] = 122 + block[0] % 6,
                        // A scale of up to 1/2.
                        Format::IQ1_M => block[55] &= 0xbf,
                        Format::NVFP4 => block[..4].iter_mut().for_each(|scale| *scale %= 0x40),
                        _ => {}
                    }
                }
                bytes
            }
        }
    }
}

/// Repacks a matrix, `quads` quads at a time, each run staged by itself as loading does.
pub fn repack(gpu: &Gpu, format: Format, bytes: &[u8], rows: u32, k: u32, quads: u32) -> [Buffer; 2] {
    let planes = format.planes(rows, k);
    let buffers = [gpu.buffer("quants", planes.quants).unwrap(), gpu.buffer("scales", planes.scales).unwrap()];
    repack_into(gpu, &buffers, format, bytes, [rows, k, quads], [0, 1], None);
    buffers
}

/// The same into the planes of a larger matrix, from its quad `first` on, every `step`th quad.
pub fn repack_into(
    gpu: &Gpu,
    [quants, scales]: &[Buffer; 2],
    format: Format,
    bytes: &[u8],
    [rows, k, quads]: [u32; 3],
    [first_quad, quad_step]: [u32; 2],
    reorder: Option<Reorder>,
) {
    let kernel = Repack { from: format, format, k, reorder };
    let row_bytes = bytes.len() / rows as usize;
    let run_rows = quads.min(rows.div_ceil(4)) * 4;
    for first in (0..rows).step_by(run_rows as usize) {
        let run = run_rows.min(rows - first);
        let staged = gpu.upload("staged", &bytes[first as usize * row_bytes..][..run as usize * row_bytes]).unwrap();
        let part = RepackChunk { first_quad: first_quad + first / 4 * quad_step, quad_step, rows: run };
        let chunk = gpu.buffer("chunk", RepackChunk::MOST_BYTES).unwrap();
        gpu.write(&chunk, 0, bytemuck::cast_slice(&kernel.chunk(part)));
        let mut bindings = vec![staged.whole(), chunk.whole(), quants.whole()];
        if kernel.has_scales() {
            bindings.push(scales.whole());
        }
        let dispatch =
            Dispatch { shader: kernel.shader(), grid: Grid::Linear(kernel.workgroups(run)), traffic: Traffic::default() };
        let mut plan = Plan::default();
        plan.push(gpu, &dispatch, &bindings);
        gpu.run(&plan, Span { position: 0, rows: 1 });
    }
}

/// The type of a format in a file.
pub fn tensor_type(format: Format) -> TensorType {
    *TensorType::ALL.iter().find(|kind| format_of(**kind) == Some(format)).expect("every format is of a type")
}

/// What GGUF bytes mean.
pub fn dequantize(format: Format, bytes: &[u8]) -> Vec<f32> {
    let numbers = bytes.len() / format.gguf_block_bytes() as usize * format.block_columns() as usize;
    dequantized(tensor_type(format), bytes, numbers).expect("whole blocks")
}

/// Where the f16 numbers of a block are.
pub fn halves(format: Format) -> &'static [usize] {
    match format {
        Format::F32 | Format::F16 | Format::BF16 => &[],
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 | Format::Q8_1 => &[0],
        Format::IQ4_NL | Format::IQ4_XS | Format::Q1_0 | Format::Q2_0 => &[0],
        Format::IQ2_XXS | Format::IQ2_XS | Format::IQ2_S | Format::IQ3_XXS | Format::IQ3_S | Format::IQ1_S => &[0],
        Format::MXFP4 | Format::NVFP4 | Format::IQ1_M => &[],
        Format::Q2_K => &[80, 82],
        Format::Q3_K => &[108],
        Format::TQ1_0 => &[52],
        Format::TQ2_0 => &[64],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q6_K => &[208],
    }
}

/// Every value without its sign.
pub fn absolute(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value.abs()).collect()
}

/// The largest error of a sum, relative to the sum of its terms' sizes: cancellation is not the kernel's fault.
pub fn worst_sum(actual: &[f32], expected: &[f64], sizes: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let errors = actual.iter().zip(expected).zip(sizes).map(|((a, e), size)| (f64::from(*a) - e).abs() / (size + 1e-30));
    errors.fold(0.0, |worst, error| if error.is_nan() { f64::INFINITY } else { worst.max(error) })
}
