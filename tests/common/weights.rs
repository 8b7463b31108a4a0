//! Matrices for kernels under test: GGUF bytes, what they mean in plain words, and the planes that the repack kernel makes of them.

#![allow(dead_code, reason = "every test uses its own part")]

use super::gpu::Random;
use kinglet::gpu::{Buffer, Dispatch, Gpu, Grid, Plan, Span, Traffic};
use kinglet::kernels::{Format, Reorder, Repack, RepackChunk};

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
    let kernel = Repack { format, k, reorder };
    let row_bytes = bytes.len() / rows as usize;
    let run_rows = quads.min(rows.div_ceil(4)) * 4;
    for first in (0..rows).step_by(run_rows as usize) {
        let run = run_rows.min(rows - first);
        let staged = gpu.upload("staged", &bytes[first as usize * row_bytes..][..run as usize * row_bytes]).unwrap();
        let chunk =
            gpu.upload("chunk", &[RepackChunk { first_quad: first_quad + first / 4 * quad_step, quad_step, rows: run }]).unwrap();
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

fn half_at(bytes: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// What GGUF bytes mean, block by block.
pub fn dequantize(format: Format, bytes: &[u8]) -> Vec<f32> {
    let nibble = |block: &[u8], head: usize, column: usize| match column {
        0..16 => block[head + column] & 15,
        _ => block[head + column - 16] >> 4,
    };
    match format {
        Format::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Format::F16 => bytes.chunks_exact(2).map(|b| half_at(b, 0)).collect(),
        Format::BF16 => bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        _ => bytes
            .chunks_exact(format.gguf_block_bytes() as usize)
            .flat_map(|block| {
                let d = half_at(block, 0);
                (0..32).map(move |column| match format {
                    Format::Q4_0 => d * (f32::from(nibble(block, 2, column)) - 8.0),
                    Format::Q4_1 => d * f32::from(nibble(block, 4, column)) + half_at(block, 2),
                    _ => d * f32::from(block[2 + column] as i8),
                })
            })
            .collect(),
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
