//! The browser's worker: it owns the engine, answers the protocol's messages, and streams models from servers and local files.
//!
//! Everything runs on the worker's one thread; requests wait in a queue and are worked through one after the other.

mod bridge;
mod gpu_shim;
mod heap;
mod queue;
pub mod source;
mod speed;
mod tuning;
mod worker;

pub use gpu_shim::{Adapter, open as open_gpu};
pub use worker::start;
