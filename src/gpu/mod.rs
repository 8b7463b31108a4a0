//! The GPU room: adapter, tier, buffers, pipelines, plans of dispatches, readback, recordings of what ran.
//!
//! Everything here is about *how* work reaches the device. What the work means (kernels, weights, models) lives elsewhere.

mod adapter;
mod buffer;
mod device;
mod error;
mod int8_dot;
mod lanes;
mod pipeline;
mod plan;
#[cfg(target_arch = "wasm32")]
mod pulse;
mod readback;
mod record;
mod timing;
mod wait;

pub use adapter::{AdapterChoice, Capabilities, DeviceInfo, DeviceLimits, Tier, WebAdapter, devices};
pub use buffer::{Binding, Buffer, MemoryUse};
pub use device::{Gpu, GpuOptions};
pub use error::GpuError;
pub use int8_dot::in_browser as int8_dot_in_browser;
pub use pipeline::{Access, Pipeline, Shader};
pub use plan::{Dispatch, Grid, Plan, Span, Traffic};
pub use readback::{Pending, ReadbackRing};
pub use record::Ran;
