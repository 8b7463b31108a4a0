//! How long a plan takes on the GPU.

use super::GpuError;
use super::device::Gpu;
use super::plan::{Plan, Span};
use web_time::Instant;

impl Gpu {
    /// Seconds that `repeats` runs of a plan take together, in one pass: by timestamps where the device has them (0 if that is less than they can tell:
    /// browsers round to 100 µs), else by the clock from the submit until all is done.
    ///
    /// # Errors
    /// The failure that the device reported.
    pub async fn time(&self, plan: &Plan, span: Span, repeats: u32) -> Result<f64, GpuError> {
        let stamps = self.has_timestamps().then(|| self.timestamp_queries(2));
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = stamps.as_ref().map(|_| self.buffer_for("timestamps", 16, usage)).transpose()?;
        let begun = Instant::now();
        self.submit(|encoder| {
            let timestamp_writes = stamps.as_ref().map(|query_set| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            });
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            for _ in 0..repeats {
                plan.encode(&mut pass, span);
            }
            drop(pass);
            if let (Some(stamps), Some(resolved)) = (&stamps, &resolved) {
                encoder.resolve_query_set(stamps, 0..2, resolved.raw(), 0);
            }
        });
        let mut seconds = None;
        match &resolved {
            None => self.idle().await?,
            Some(resolved) => {
                let stamps: Vec<u64> = self.download(resolved, 0..16).await?;
                // A device's clock may be reset in between: then this machine's has to do.
                let ticks = stamps[1].checked_sub(stamps[0]);
                seconds = ticks.map(|ticks| ticks as f64 * f64::from(self.timestamp_period()) * 1e-9);
            }
        }
        Ok(seconds.unwrap_or_else(|| begun.elapsed().as_secs_f64()))
    }
}
