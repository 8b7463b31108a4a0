//! Getting results back: a ring of small mapped buffers for token ids, and a plain download for everything else.

use super::GpuError;
use super::buffer::Buffer;
use super::device::Gpu;
use super::plan::{Plan, Span, encode};
use super::wait::{Signal, signal};
use std::ops::Range;

type Mapped = Signal<Result<(), wgpu::BufferAsyncError>>;

/// A step that was submitted and whose 4 bytes are on their way.
pub struct Pending {
    slot: usize,
    mapped: Mapped,
    submission: wgpu::SubmissionIndex,
}

impl Pending {
    /// Its bytes have arrived.
    pub fn is_done(&self) -> bool {
        self.mapped.is_there()
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending(slot {})", self.slot)
    }
}

/// A fixed number of 4-byte buffers that results are copied to and mapped from in turn; steady use creates nothing.
#[derive(Debug)]
pub struct ReadbackRing {
    slots: Vec<Buffer>,
    next: usize,
}

impl ReadbackRing {
    /// Bytes that one step brings back.
    pub const BYTES: u64 = 4;

    /// A ring for at most `depth` steps in flight.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &Gpu, depth: usize) -> Result<Self, GpuError> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let slots = (0..depth).map(|_| gpu.buffer_for("readback", Self::BYTES, usage)).collect::<Result<_, _>>()?;
        Ok(Self { slots, next: 0 })
    }

    /// Most steps in flight.
    pub fn depth(&self) -> usize {
        self.slots.len()
    }

    /// Runs `plans`, each over its span, in one submit and starts reading back 4 bytes of `source` at `offset`. At most [`Self::depth`] results may be
    /// pending at once.
    pub fn run(&mut self, gpu: &Gpu, plans: &[(&Plan, Span)], source: &Buffer, offset: u64) -> Pending {
        let slot = self.next;
        self.next = (self.next + 1) % self.slots.len();
        let target = &self.slots[slot];
        let submission = gpu.submit(|encoder| {
            encode(gpu, encoder, plans);
            encoder.copy_buffer_to_buffer(source.raw(), offset, target.raw(), 0, Some(Self::BYTES));
        });
        let (sender, mapped) = signal();
        target.raw().slice(..).map_async(wgpu::MapMode::Read, move |result| sender.send(result));
        gpu.kick();
        Pending { slot, mapped, submission }
    }

    /// The value of a pending step; waits for it.
    ///
    /// # Errors
    /// The failure that the device reported.
    pub async fn value(&self, gpu: &Gpu, pending: Pending) -> Result<u32, GpuError> {
        gpu.poll(Some(pending.submission))?;
        let slot = &self.slots[pending.slot];
        let bytes = finish(gpu, slot, pending.mapped, 0..Self::BYTES).await?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

async fn finish(gpu: &Gpu, buffer: &Buffer, mapped: Mapped, range: Range<u64>) -> Result<Vec<u8>, GpuError> {
    let result = match mapped.take() {
        Some(result) => result,
        None => gpu.wait(mapped).await,
    };
    let lost = |reason: String| gpu.check().err().unwrap_or(GpuError::DeviceLost { reason });
    result.map_err(|error| lost(error.to_string()))?;
    // Only a device that goes takes a mapped buffer away, and a browser does that before it tells of the loss.
    let view = buffer.raw().slice(range).get_mapped_range().map_err(|error| lost(error.to_string()))?;
    let bytes = view.to_vec();
    drop(view);
    buffer.raw().unmap();
    gpu.check()?;
    Ok(bytes)
}

/// Copies `range` of `source` to the CPU.
pub(super) async fn download(gpu: &Gpu, source: &Buffer, range: Range<u64>) -> Result<Vec<u8>, GpuError> {
    let bytes = range.end - range.start;
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let target = gpu.buffer_for("download", bytes, usage)?;
    let submission = gpu.submit(|encoder| {
        encoder.copy_buffer_to_buffer(source.raw(), range.start, target.raw(), 0, Some(bytes));
    });
    let (sender, mapped) = signal();
    target.raw().slice(..).map_async(wgpu::MapMode::Read, move |result| sender.send(result));
    gpu.kick();
    gpu.poll(Some(submission))?;
    finish(gpu, &target, mapped, 0..bytes).await
}
