//! Streaming tensors onto the GPU: chunks of whole rows go through one staging buffer and are repacked there.

use super::dequant::dequantized;
use super::gguf::TensorInfo;
use super::matrix::{Matrix, format_of};
use super::source::{Chunk, Source, SourceError};
use crate::gpu::{Buffer, Dispatch, Gpu, GpuError, Grid, Plan, Span, Traffic};
use crate::kernels::{Reorder, Repack, RepackChunk};
use std::ops::Range;

/// Most bytes of one chunk: small enough that browsers' transfer memory stays small, large enough to be quick.
pub const CHUNK_BYTES: u64 = 8 << 20;

/// After so many bytes the upload waits for the GPU, so that browsers do not pile up copies of what is on its way.
const IDLE_EVERY: u64 = 64 << 20;

/// Why a tensor did not reach the GPU.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each field is named in its message")]
pub enum UploadError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error("tensor `{tensor}` has the type {kind}, which Kinglet cannot run yet; it can run {supported}")]
    Unsupported { tensor: String, kind: &'static str, supported: String },
    #[error("tensor `{tensor}` is {columns} columns wide, which is not a multiple of 8")]
    Columns { tensor: String, columns: u64 },
    #[error("tensor `{tensor}` has rows of {row_bytes} bytes, too wide to stage {limit} bytes at a time")]
    RowTooWide { tensor: String, row_bytes: u64, limit: u64 },
    #[error("tensor `{tensor}` should be a vector of {expected} numbers of type F32, F16 or BF16, but is {found}")]
    Vector { tensor: String, expected: u64, found: String },
}

/// Which rows of a matrix a tensor's rows become.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Rows of the tensor, a multiple of 4 unless they are its last ones.
    pub rows: Range<u32>,
    /// Quad of the matrix that the first four of them become.
    pub first_quad: u32,
    /// From one quad of them to the next, in quads of the matrix.
    pub quad_step: u32,
    /// Rows change places within their heads.
    pub reorder: Option<Reorder>,
}

impl Placement {
    /// The tensor's `rows` rows are the whole matrix.
    pub fn whole(rows: u32) -> Self {
        Self { rows: 0..rows, first_quad: 0, quad_step: 1, reorder: None }
    }
}

/// Brings tensors from a [`Source`] onto a device.
pub struct Uploader<'a, S> {
    gpu: &'a Gpu,
    source: &'a mut S,
    staging: Buffer,
    chunk: Buffer,
    since_idle: u64,
}

impl<'a, S: Source> Uploader<'a, S> {
    /// An uploader with its staging buffer.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &'a Gpu, source: &'a mut S) -> Result<Self, GpuError> {
        let staging = gpu.buffer("staging", CHUNK_BYTES)?;
        let chunk = gpu.buffer("staged chunk", RepackChunk::MOST_BYTES)?;
        Ok(Self { gpu, source, staging, chunk, since_idle: 0 })
    }

    /// Streams `tensor` into `matrix`, whose format holds the tensor's. `arrived` hears of every chunk's bytes and may stop the upload by an error.
    ///
    /// # Errors
    /// What the source, the device or `arrived` report; a row too wide to stage.
    pub async fn matrix<E: From<UploadError>>(
        &mut self,
        tensor: &TensorInfo,
        matrix: &Matrix,
        placement: Placement,
        arrived: &mut impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let row_bytes = tensor.row_bytes();
        let together = placement.reorder.map_or(4, |reorder| reorder.head_rows);
        let most = u32::try_from(CHUNK_BYTES / row_bytes.max(1)).unwrap_or(u32::MAX) / together * together;
        if most == 0 {
            return Err(UploadError::RowTooWide { tensor: tensor.name.clone(), row_bytes, limit: CHUNK_BYTES }.into());
        }
        let from = matrix_format(tensor)?;
        let repack = Repack { from, format: matrix.format, k: matrix.columns, reorder: placement.reorder };
        let rows = placement.rows.end - placement.rows.start;
        let mut done = 0;
        while done < rows {
            let target = placement.first_quad + done / 4 * placement.quad_step;
            let Some(shard) = matrix.shards.iter().rev().find(|shard| shard.first_row / 4 <= target) else { break };
            let first_quad = target - shard.first_row / 4;
            let room = (shard.rows.div_ceil(4) - first_quad).div_ceil(placement.quad_step);
            let count = most.min(rows - done).min(4 * room);
            debug_assert!(count > 0, "a tensor's rows have room");
            if count == 0 {
                break;
            }
            let bytes = u64::from(count) * row_bytes;
            let offset = tensor.offset + u64::from(placement.rows.start + done) * row_bytes;
            let data = self.source.read(offset, bytes as usize).await.map_err(UploadError::from)?;
            self.stage(data).map_err(UploadError::from)?;
            let part = RepackChunk { first_quad, quad_step: placement.quad_step, rows: count };
            self.gpu.write(&self.chunk, 0, bytemuck::cast_slice(&repack.chunk(part)));
            let dispatch =
                Dispatch { shader: repack.shader(), grid: Grid::Linear(repack.workgroups(count)), traffic: Traffic::default() };
            let mut bindings = vec![self.staging.whole(), self.chunk.whole(), shard.quants.clone()];
            if repack.has_scales() {
                bindings.push(shard.scales.clone());
            }
            let mut plan = Plan::default();
            plan.push(self.gpu, &dispatch, &bindings);
            self.gpu.run(&plan, Span { position: 0, rows: count });
            self.since_idle += bytes;
            if self.since_idle >= IDLE_EVERY {
                self.gpu.idle().await.map_err(UploadError::from)?;
                self.since_idle = 0;
            }
            arrived(bytes)?;
            done += count;
        }
        Ok(())
    }

    /// Reads a small tensor of plain numbers, such as a norm's weight.
    ///
    /// # Errors
    /// [`UploadError::Vector`] if its type or length are not as expected; what the source reports.
    pub async fn vector(&mut self, tensor: &TensorInfo, expected: u64) -> Result<Vec<f32>, UploadError> {
        let wrong = || UploadError::Vector {
            tensor: tensor.name.clone(),
            expected,
            found: format!("{} of dimensions {:?}", tensor.kind.name(), tensor.dims),
        };
        if tensor.dims.iter().product::<u64>() != expected {
            return Err(wrong());
        }
        let bytes = self.source.read(tensor.offset, tensor.bytes as usize).await?.to_vec();
        dequantized(tensor.kind, &bytes, expected as usize).map_err(|_| wrong())
    }

    fn stage(&mut self, data: Chunk) -> Result<(), GpuError> {
        match data {
            Chunk::Bytes(bytes) => {
                self.gpu.write(&self.staging, 0, &bytes);
                Ok(())
            }
            #[cfg(target_arch = "wasm32")]
            Chunk::Js(bytes) => self.gpu.write_js(&self.staging, 0, &bytes),
        }
    }
}

/// The format of a matrix tensor, checked.
///
/// # Errors
/// [`UploadError::Unsupported`] or [`UploadError::Columns`].
pub fn matrix_format(tensor: &TensorInfo) -> Result<crate::kernels::Format, UploadError> {
    let format = format_of(tensor.kind).ok_or_else(|| UploadError::Unsupported {
        tensor: tensor.name.clone(),
        kind: tensor.kind.name(),
        supported: crate::kernels::Format::ALL.map(|format| format.name()).join(", "),
    })?;
    if !tensor.columns().is_multiple_of(u64::from(format.block_columns())) {
        return Err(UploadError::Columns { tensor: tensor.name.clone(), columns: tensor.columns() });
    }
    Ok(format)
}
