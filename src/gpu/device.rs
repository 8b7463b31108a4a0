//! An open device: the one handle through which all other rooms reach the GPU.

use super::adapter::{self, AdapterChoice, Capabilities, DeviceInfo, DeviceLimits, WebAdapter};
use super::buffer::{Binding, Buffer, MemoryUse};
use super::pipeline::{Pipeline, PipelineCache, Shader};
use super::plan::{Plan, Span, encode};
use super::record::Recorder;
use super::wait::{Signal, signal};
use super::{GpuError, lanes, readback};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

/// How to open a device.
#[derive(Debug, Clone, Default)]
pub struct GpuOptions {
    /// Which adapter, and at most which tier.
    pub adapter: AdapterChoice,
    /// In a browser: what wgpu does not see of the adapter.
    pub web: WebAdapter,
    /// Recordings are timed, which needs timestamp queries: see [`Gpu::start_recording`].
    pub profile: bool,
    /// No binding is larger than so many bytes, as on a device with that limit: for tests.
    pub binding_bytes: Option<u64>,
    /// Buffers take no more than so many bytes together: what does not fit is [`GpuError::OutOfMemory`].
    pub memory_bytes: Option<u64>,
}

/// An open GPU device. Cloning gives another handle to the same device.
#[derive(Clone)]
pub struct Gpu(Rc<Inner>);

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: DeviceInfo,
    capabilities: Capabilities,
    memory: Rc<Cell<MemoryUse>>,
    memory_bytes: u64,
    submits: Cell<u64>,
    pipelines: PipelineCache,
    recorder: Recorder,
    profile: bool,
    failure: Arc<Mutex<Option<GpuError>>>,
    #[cfg(target_arch = "wasm32")]
    pulse: super::pulse::Pulse,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("info", &self.0.info).finish_non_exhaustive()
    }
}

impl Gpu {
    /// Opens a device.
    ///
    /// # Errors
    /// [`GpuError::NoAdapter`], [`GpuError::UnknownAdapter`], [`GpuError::TierUnavailable`], [`GpuError::NoTimestamps`] or
    /// [`GpuError::DeviceRefused`].
    pub async fn open(options: GpuOptions) -> Result<Self, GpuError> {
        let found = adapter::choose(&adapter::instance(), &options.adapter, &options.web).await?;
        let offered = found.adapter.limits();
        let defaults = wgpu::Limits::default();
        let required = wgpu::Limits {
            max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
            max_buffer_size: offered.max_buffer_size,
            min_storage_buffer_offset_alignment: offered.min_storage_buffer_offset_alignment,
            min_uniform_buffer_offset_alignment: offered.min_uniform_buffer_offset_alignment,
            ..defaults
        };
        let mut features = wgpu::Features::empty();
        features.set(wgpu::Features::SUBGROUP, found.capabilities.subgroups && !options.web.subgroups);
        features.set(wgpu::Features::SHADER_F16, found.capabilities.f16);
        let timestamps = found.adapter.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        features.set(wgpu::Features::TIMESTAMP_QUERY, timestamps);
        if options.profile && !timestamps {
            return Err(GpuError::NoTimestamps { adapter: found.info.name });
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("kinglet"),
            required_features: features,
            required_limits: required,
            ..Default::default()
        };
        let (device, queue) = found
            .adapter
            .request_device(&descriptor)
            .await
            .map_err(|error| GpuError::DeviceRefused { adapter: found.info.name.clone(), reason: error.to_string() })?;
        let mut found = found.confirmed(&device, options.adapter.tier)?;
        if let Some(bytes) = options.binding_bytes {
            found.info.limits.binding_bytes = found.info.limits.binding_bytes.min(bytes);
        }

        let memory = Rc::new(Cell::new(MemoryUse::default()));
        let failure = Arc::new(Mutex::new(None));
        let on_error = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            record(
                &on_error,
                match error {
                    wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory { in_use: 0 },
                    other => GpuError::Rejected { reason: other.to_string() },
                },
            );
        }));
        let on_lost = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            let reason = if message.is_empty() { format!("{reason:?}").to_lowercase() } else { message };
            record(&on_lost, GpuError::DeviceLost { reason });
        });
        let mut gpu = Self(Rc::new(Inner {
            #[cfg(target_arch = "wasm32")]
            pulse: super::pulse::Pulse::new(&queue),
            device,
            queue,
            info: found.info.clone(),
            capabilities: found.capabilities,
            memory,
            memory_bytes: options.memory_bytes.unwrap_or(u64::MAX),
            submits: Cell::new(0),
            pipelines: PipelineCache::default(),
            recorder: Recorder::default(),
            profile: options.profile,
            failure,
        }));
        if found.capabilities.subgroups {
            let in_order = lanes::in_order(&gpu).await?;
            let kept = || GpuError::Rejected { reason: "the probe of its subgroups keeps the device".into() };
            let inner = Rc::get_mut(&mut gpu.0).ok_or_else(kept)?;
            // Nothing of it counts.
            inner.pipelines = PipelineCache::default();
            inner.memory.set(MemoryUse::default());
            inner.submits.set(0);
            if !in_order {
                found.capabilities.subgroups = false;
                found.settle(options.adapter.tier)?;
                (inner.info, inner.capabilities) = (found.info, found.capabilities);
            }
        }
        Ok(gpu)
    }

    /// What this device is.
    pub fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    /// The optional features that kernels may use.
    pub fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    /// The device's limits.
    pub fn limits(&self) -> DeviceLimits {
        self.0.info.limits
    }

    /// Bytes allocated now and at most so far, and the number of allocations.
    pub fn memory(&self) -> MemoryUse {
        self.0.memory.get()
    }

    /// Submits so far.
    pub fn submits(&self) -> u64 {
        self.0.submits.get()
    }

    /// The first failure that the device reported since it was opened, if any.
    ///
    /// # Errors
    /// That failure.
    pub fn check(&self) -> Result<(), GpuError> {
        match self.0.failure.lock() {
            Ok(failure) => match failure.clone() {
                Some(GpuError::OutOfMemory { .. }) => Err(GpuError::OutOfMemory { in_use: self.memory().current }),
                Some(error) => Err(error),
                None => Ok(()),
            },
            Err(_) => Err(GpuError::Rejected { reason: "an error handler panicked".into() }),
        }
    }

    /// Does what the device may refuse, for lack of memory or because a driver cannot compile it: that is an error of this call alone
    /// ([`GpuError::is_refusal`]), and the device is as good as before.
    ///
    /// # Errors
    /// What the device refused with; those of `work`.
    pub async fn attempt<T>(&self, work: impl AsyncFnOnce() -> Result<T, GpuError>) -> Result<T, GpuError> {
        let filters = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation];
        let mut scopes: Vec<_> = filters.map(|filter| self.0.device.push_error_scope(filter)).into();
        let result = work().await;
        let mut refusal = None;
        while let Some(scope) = scopes.pop() {
            match scope.pop().await {
                // It explains whatever else went wrong.
                Some(wgpu::Error::OutOfMemory { .. }) => {
                    refusal = Some(GpuError::OutOfMemory { in_use: self.memory().current });
                }
                Some(other) if refusal.is_none() => refusal = Some(GpuError::Rejected { reason: other.to_string() }),
                _ => {}
            }
        }
        refusal.map_or(result, Err)
    }

    /// A storage buffer of `bytes` bytes (rounded up to 16), zeroed.
    ///
    /// # Errors
    /// [`GpuError::TooLarge`] beyond the device's limit, [`GpuError::OutOfMemory`] beyond [`GpuOptions::memory_bytes`]. Other lack of memory
    /// shows in [`Gpu::check`].
    pub fn buffer(&self, label: &str, bytes: u64) -> Result<Buffer, GpuError> {
        use wgpu::BufferUsages as Usage;
        self.buffer_for(label, bytes, Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC)
    }

    /// A storage buffer that holds `data`.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn upload<T: bytemuck::NoUninit>(&self, label: &str, data: &[T]) -> Result<Buffer, GpuError> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let buffer = self.buffer(label, bytes.len() as u64)?;
        self.write(&buffer, 0, bytes);
        Ok(buffer)
    }

    pub(super) fn buffer_for(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<Buffer, GpuError> {
        let size = bytes.max(16).next_multiple_of(16);
        let limit = self.limits().buffer_bytes;
        if size > limit {
            return Err(GpuError::TooLarge { what: label.into(), bytes: size, limit });
        }
        let in_use = self.memory().current;
        if in_use + size > self.0.memory_bytes {
            return Err(GpuError::OutOfMemory { in_use });
        }
        let raw =
            self.0.device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false });
        Ok(Buffer::new(raw, self.0.memory.clone()))
    }

    /// Writes `bytes` at `offset` (a multiple of 4) before the next submit; an odd tail is padded with zeros.
    pub fn write(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) {
        let whole = bytes.len() & !3;
        self.0.queue.write_buffer(buffer.raw(), offset, &bytes[..whole]);
        if whole < bytes.len() {
            let mut tail = [0; 4];
            tail[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.0.queue.write_buffer(buffer.raw(), offset + whole as u64, &tail);
        }
    }

    /// Writes bytes that are in JavaScript's memory, which never pass through WASM's; an odd tail is padded with zeros.
    ///
    /// # Errors
    /// [`GpuError::Rejected`] with the browser's words.
    #[cfg(target_arch = "wasm32")]
    pub fn write_js(&self, buffer: &Buffer, offset: u64, bytes: &js_sys::Uint8Array) -> Result<(), GpuError> {
        let rejected = |reason: String| GpuError::Rejected { reason };
        let (Some(queue), Some(raw)) = (self.0.queue.as_webgpu(), buffer.raw().as_webgpu()) else {
            return Err(rejected("the device is not the browser's".into()));
        };
        let whole = bytes.length() & !3;
        let aligned = if whole == bytes.length() { bytes.clone() } else { bytes.subarray(0, whole) };
        queue
            .write_buffer_with_f64_and_buffer_source(raw, offset as f64, &aligned)
            .map_err(|error| rejected(format!("{error:?}")))?;
        if whole < bytes.length() {
            self.write(buffer, offset + u64::from(whole), &bytes.subarray(whole, bytes.length()).to_vec());
        }
        Ok(())
    }

    /// The pipeline of `shader`, compiled once per distinct text.
    pub fn pipeline(&self, shader: &Shader) -> Rc<Pipeline> {
        self.0.pipelines.get(&self.0.device, shader)
    }

    /// Every pipeline compiled so far, by name and text.
    pub fn pipelines(&self) -> Vec<Rc<Pipeline>> {
        self.0.pipelines.all()
    }

    /// Pipelines compiled so far.
    pub fn pipeline_count(&self) -> usize {
        self.0.pipelines.len()
    }

    pub(super) fn bind_group(&self, pipeline: &Pipeline, bindings: &[Binding]) -> wgpu::BindGroup {
        let entries: Vec<_> = bindings
            .iter()
            .enumerate()
            .map(|(index, binding)| wgpu::BindGroupEntry { binding: index as u32, resource: binding.resource() })
            .collect();
        self.0.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: pipeline.layout(), entries: &entries })
    }

    /// Runs a plan in one encoder, one compute pass and one submit.
    pub fn run(&self, plan: &Plan, span: Span) {
        self.submit(|encoder| encode(self, encoder, &[(plan, span)]));
    }

    /// Encodes with `record` and submits.
    pub(super) fn submit(&self, record: impl FnOnce(&mut wgpu::CommandEncoder)) -> wgpu::SubmissionIndex {
        let mut encoder = self.0.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        record(&mut encoder);
        self.0.submits.set(self.0.submits.get() + 1);
        self.0.queue.submit([encoder.finish()])
    }

    pub(super) fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    /// The device was opened with timestamp queries.
    pub(super) fn can_time(&self) -> bool {
        self.0.profile
    }

    /// The device has timestamp queries.
    pub fn has_timestamps(&self) -> bool {
        self.0.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Nanoseconds of a timestamp's unit.
    pub(super) fn timestamp_period(&self) -> f32 {
        self.0.queue.get_timestamp_period()
    }

    pub(super) fn timestamp_queries(&self, count: u32) -> wgpu::QuerySet {
        self.0.device.create_query_set(&wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count })
    }

    /// An empty submit. Firefox completes maps on a slow timer unless something is submitted after them; [`Gpu::wait`] goes on with it.
    pub(super) fn kick(&self) {
        if cfg!(target_arch = "wasm32") {
            self.0.queue.submit([]);
        }
    }

    /// What a callback sends. In Firefox empty submits go out until it does.
    pub(super) async fn wait<T>(&self, signal: Signal<T>) -> T {
        #[cfg(target_arch = "wasm32")]
        let _beat = self.0.pulse.beat();
        signal.await
    }

    /// Lets callbacks run; with `index` waits until that submission is done. In a browser both happen by themselves.
    pub(super) fn poll(&self, index: Option<wgpu::SubmissionIndex>) -> Result<(), GpuError> {
        let poll = match index {
            Some(index) => wgpu::PollType::Wait { submission_index: Some(index), timeout: None },
            None => wgpu::PollType::Poll,
        };
        self.0
            .device
            .poll(poll)
            .map(drop)
            .map_err(|error| self.check().err().unwrap_or(GpuError::DeviceLost { reason: error.to_string() }))
    }

    /// Ends the device at once, as a driver's reset would: everything that uses it from now on fails with [`GpuError::DeviceLost`].
    pub fn destroy(&self) {
        self.0.device.destroy();
        // The news comes with the next poll.
        let _ = self.poll(None);
    }

    /// Waits until everything submitted so far is done.
    ///
    /// # Errors
    /// The failure that the device reported.
    pub async fn idle(&self) -> Result<(), GpuError> {
        let (sender, done): (_, Signal<()>) = signal();
        let index = self.0.queue.submit([]);
        self.0.queue.on_submitted_work_done(move || sender.send(()));
        self.kick();
        self.poll(Some(index))?;
        self.wait(done).await;
        self.check()
    }

    /// The contents of `buffer`. For tests, logits and diagnosis; never in the decode loop.
    ///
    /// # Errors
    /// The failure that the device reported.
    pub async fn download<T: bytemuck::Pod>(&self, buffer: &Buffer, range: std::ops::Range<u64>) -> Result<Vec<T>, GpuError> {
        let bytes = readback::download(self, buffer, range).await?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }
}

/// Keeps the failure that explains the others: lack of memory may cost the device, and what a lost device rejects is no bug of anybody's.
fn record(slot: &Mutex<Option<GpuError>>, error: GpuError) {
    let weight = |error: &GpuError| match error {
        GpuError::OutOfMemory { .. } => 2,
        GpuError::DeviceLost { .. } => 1,
        _ => 0,
    };
    if let Ok(mut slot) = slot.lock()
        && slot.as_ref().is_none_or(|known| weight(&error) > weight(known))
    {
        *slot = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::{GpuError, Mutex, record};

    #[test]
    fn the_failure_that_explains_the_others_is_kept() {
        let all = [
            GpuError::Rejected { reason: "a buffer is invalid".into() },
            GpuError::DeviceLost { reason: "Not enough memory left".into() },
            GpuError::OutOfMemory { in_use: 0 },
        ];
        for order in [[0, 1, 2], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0], [0, 2, 1]] {
            let slot = Mutex::new(None);
            order.into_iter().for_each(|i: usize| record(&slot, all[i].clone()));
            let kept = slot.into_inner().ok().flatten();
            assert!(matches!(kept, Some(GpuError::OutOfMemory { .. })), "{order:?}: {kept:?}");
        }
        let slot = Mutex::new(None);
        [1, 0].into_iter().for_each(|i: usize| record(&slot, all[i].clone()));
        assert!(matches!(slot.into_inner().ok().flatten(), Some(GpuError::DeviceLost { .. })));
    }
}
