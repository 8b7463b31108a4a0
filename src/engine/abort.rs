//! Telling a running load or answer to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that its holders share; once raised it stays.
#[derive(Debug, Clone, Default)]
pub struct AbortSignal(Arc<AtomicBool>);

impl AbortSignal {
    /// A signal that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks whoever watches to stop; an answer ends within one step.
    pub fn abort(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Somebody asked to stop.
    pub fn is_aborted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
