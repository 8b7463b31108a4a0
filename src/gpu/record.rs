//! Recording: every dispatch between two moments, with its time on the GPU where the device was opened for that.

use super::GpuError;
use super::buffer::Buffer;
use super::device::Gpu;
use super::pipeline::Pipeline;
use super::plan::{Span, Step};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Dispatches that one query set has room for, at two timestamps each.
const DISPATCHES_PER_SET: usize = (wgpu::QUERY_SET_MAX_QUERIES / 2) as usize;

/// Bytes of a dispatch's two timestamps.
const TIMESTAMPS_BYTES: usize = 16;

/// A dispatch that ran.
#[derive(Debug, Clone)]
pub struct Ran {
    /// What ran.
    pub pipeline: Rc<Pipeline>,
    /// In how many workgroups.
    pub groups: [u32; 3],
    /// Bytes that it read, as the kernel declares them.
    pub bytes: u64,
    /// Bytes bound, by binding.
    pub bindings: Vec<u64>,
    /// Its time on the GPU, on devices opened with [`super::GpuOptions::profile`].
    pub time: Option<Duration>,
}

struct Run {
    ran: Vec<Ran>,
    /// Begin and end of each dispatch, in the device's own unit.
    timestamps: Option<Buffer>,
}

/// The recording that is on, if one is.
#[derive(Default)]
pub(super) struct Recorder(RefCell<Option<Vec<Run>>>);

impl Gpu {
    /// Records every dispatch from now on, until [`Gpu::finish_recording`]. On a device opened for profiling each then has a compute pass of its
    /// own, because only passes can be timed everywhere.
    pub fn start_recording(&self) {
        *self.recorder().0.borrow_mut() = Some(Vec::new());
    }

    /// Ends the recording, waits for what it holds, and returns the dispatches of each submit in order.
    ///
    /// # Errors
    /// The failure that the device reported.
    pub async fn finish_recording(&self) -> Result<Vec<Vec<Ran>>, GpuError> {
        let runs = self.recorder().0.borrow_mut().take().unwrap_or_default();
        let mut recorded = Vec::new();
        for Run { mut ran, timestamps } in runs {
            if let Some(timestamps) = timestamps {
                let stamps: Vec<u64> = self.download(&timestamps, 0..timestamps.size()).await?;
                let unit = f64::from(self.timestamp_period());
                for (ran, stamp) in ran.iter_mut().zip(stamps.chunks_exact(2)) {
                    // A device whose clock was reset in between says nothing about this one.
                    let ticks = stamp[1].checked_sub(stamp[0]);
                    ran.time = ticks.map(|ticks| Duration::from_nanos((ticks as f64 * unit) as u64));
                }
            }
            recorded.push(ran);
        }
        Ok(recorded)
    }

    /// Adds `steps` to the recording, if one is on. The buffer, if any, wants their timestamps: see [`encode_timed`].
    pub(super) fn record<'a>(&self, steps: impl Iterator<Item = (&'a Step, Span)>) -> Option<Buffer> {
        let mut recorder = self.recorder().0.borrow_mut();
        let runs = recorder.as_mut()?;
        let ran: Vec<Ran> = steps.map(|(step, span)| step.ran(span)).collect();
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let bytes = (ran.len() * TIMESTAMPS_BYTES) as u64;
        let timestamps = self.can_time().then(|| self.buffer_for("timestamps", bytes, usage).ok()).flatten();
        runs.push(Run { ran, timestamps: timestamps.clone() });
        timestamps
    }
}

/// Encodes each step into a pass of its own, whose begin and end go to `timestamps`.
pub(super) fn encode_timed(gpu: &Gpu, encoder: &mut wgpu::CommandEncoder, steps: &[(&Step, Span)], timestamps: &Buffer) {
    for (part, steps) in steps.chunks(DISPATCHES_PER_SET).enumerate() {
        let count = 2 * steps.len() as u32;
        let queries = gpu.timestamp_queries(count);
        for ((step, span), first) in steps.iter().zip((0..).step_by(2)) {
            let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
                query_set: &queries,
                beginning_of_pass_write_index: Some(first),
                end_of_pass_write_index: Some(first + 1),
            });
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            step.encode(&mut pass, &mut None, *span);
        }
        encoder.resolve_query_set(&queries, 0..count, timestamps.raw(), (part * DISPATCHES_PER_SET * TIMESTAMPS_BYTES) as u64);
    }
}
