//! What can go wrong between Kinglet and a device.

/// A failure of the GPU or of reaching one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GpuError {
    /// No adapter answered at all.
    #[error(
        "no usable GPU was found: {reason}. On Linux install a Vulkan driver (Mesa has one for every GPU and a software one, \
         mesa-vulkan-drivers); in a browser use one with WebGPU (Chrome or Edge 113+, Safari 26+, Firefox 141+ on Windows and 145+ on macOS)"
    )]
    NoAdapter {
        /// What the search said.
        reason: String,
    },
    /// Adapters are there, but none is called that.
    #[error("no GPU is called {wanted:?}; there are: {available}")]
    UnknownAdapter {
        /// The name asked for.
        wanted: String,
        /// The names of those that are there.
        available: String,
    },
    /// The adapter would not open.
    #[error("the GPU {adapter:?} refused to open a device: {reason}")]
    DeviceRefused {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// A tier was forced that this adapter lacks the features for.
    #[error("tier {tier} needs {missing}, which the GPU {adapter:?} does not have; leave out --tier or choose c")]
    TierUnavailable {
        /// The tier asked for.
        tier: &'static str,
        /// The missing features.
        missing: String,
        /// The adapter's name.
        adapter: String,
    },
    /// Profiling needs timestamp queries, and this adapter has none.
    #[error(
        "the GPU {adapter:?} has no timestamp queries, so its kernels cannot be timed; leave out --profile or choose another --adapter"
    )]
    NoTimestamps {
        /// The adapter's name.
        adapter: String,
    },
    /// One buffer is larger than the device allows.
    #[error("{what} needs {bytes} bytes in one buffer and this GPU allows {limit}; a smaller context or model will fit")]
    TooLarge {
        /// What the buffer is for.
        what: String,
        /// Bytes that it needs.
        bytes: u64,
        /// Bytes that the device allows.
        limit: u64,
    },
    /// Device memory ran out.
    #[error(
        "the GPU is out of memory ({in_use} bytes were in use): a smaller model, a smaller context or closing other programs helps"
    )]
    OutOfMemory {
        /// Bytes that Kinglet had allocated.
        in_use: u64,
    },
    /// The device went away (driver reset, unplugged, the browser's decision).
    #[error("the GPU device was lost ({reason}); load the model again")]
    DeviceLost {
        /// The driver's words.
        reason: String,
    },
    /// The driver or wgpu rejected something that Kinglet did: a bug.
    #[error("the GPU rejected an operation, which is a bug in Kinglet or its driver: {reason}")]
    Rejected {
        /// The driver's words.
        reason: String,
    },
}

impl GpuError {
    /// The device would not do one thing, and is as good as before.
    pub fn is_refusal(&self) -> bool {
        matches!(self, GpuError::OutOfMemory { .. } | GpuError::TooLarge { .. } | GpuError::Rejected { .. })
    }
}
