//! A weight matrix on the GPU.

use super::gguf::TensorInfo;
use super::types::TensorType;
use crate::gpu::{Binding, Buffer, Gpu, GpuError};
use crate::kernels::{Format, Planes, Variants};

/// The format that a tensor type is stored in on the GPU, which has its name, or `None` where no kernel reads it.
pub fn format_of(kind: TensorType) -> Option<Format> {
    Format::ALL.into_iter().find(|format| format.name() == kind.name())
}

/// Bytes of a tensor's matrix in a format.
pub fn matrix_bytes(tensor: &TensorInfo, format: Format) -> u64 {
    let size = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let planes = format.planes(size(tensor.rows()), size(tensor.columns()));
    planes.quants + planes.scales
}

/// Consecutive rows of a matrix in one buffer.
#[derive(Debug, Clone)]
pub struct Shard {
    /// First row of the matrix that this shard holds, a multiple of 8.
    pub first_row: u32,
    /// Rows that it holds.
    pub rows: u32,
    /// Plane 0.
    pub quants: Binding,
    /// Plane 1 (for formats without scales, plane 0 again, which no kernel reads as scales).
    pub scales: Binding,
    /// How products with it are computed.
    pub variants: Variants,
}

/// A (rows, columns) matrix, split by rows where it would not fit one binding.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// How its weights are stored.
    pub format: Format,
    /// Output features.
    pub rows: u32,
    /// Input features.
    pub columns: u32,
    /// Its parts in the order of rows.
    pub shards: Vec<Shard>,
    bytes: u64,
}

impl Matrix {
    /// Space for a matrix, to be filled by [`super::Uploader`]. A shard but the last holds whole runs of `together` rows, a multiple of 8.
    ///
    /// # Errors
    /// [`GpuError::TooLarge`] if so many rows do not fit one binding.
    pub fn new(gpu: &Gpu, label: &str, format: Format, rows: u32, columns: u32, together: u32) -> Result<Self, GpuError> {
        let limits = gpu.limits();
        let alignment = u64::from(limits.offset_alignment.max(256));
        let quad = format.planes(4, columns);
        let room =
            limits.binding_bytes.min(limits.buffer_bytes.saturating_sub(alignment) / (quad.quants + quad.scales) * quad.quants);
        let fitting = u32::try_from(room / quad.quants * 4).unwrap_or(u32::MAX);
        let most = if fitting >= rows { rows } else { fitting / together * together };
        if most == 0 {
            let bytes = format.planes(together, columns).quants;
            return Err(GpuError::TooLarge { what: label.into(), bytes, limit: limits.binding_bytes });
        }
        let mut shards = Vec::new();
        let mut bytes = 0;
        let mut first_row = 0;
        while first_row < rows {
            let held = most.min(rows - first_row);
            let planes = format.planes(held, columns);
            let scales_at = planes.quants.next_multiple_of(alignment);
            let buffer = gpu.buffer(label, if planes.scales > 0 { scales_at + planes.scales } else { planes.quants })?;
            bytes += planes.quants + planes.scales;
            shards.push(shard(&buffer, first_row, held, planes, scales_at));
            first_row += held;
        }
        Ok(Self { format, rows, columns, shards, bytes })
    }

    /// Bytes of its planes, which is what one product reads.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn shard(buffer: &Buffer, first_row: u32, rows: u32, planes: Planes, scales_at: u64) -> Shard {
    let quants = buffer.range(0, planes.quants);
    let scales = if planes.scales > 0 { buffer.range(scales_at, planes.scales) } else { quants.clone() };
    Shard { first_row, rows, quants, scales, variants: Variants::default() }
}
