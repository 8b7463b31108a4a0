//! Ctrl-C: stops the answer that is running, or the program if none is.

use super::exit::Failure;
use kinglet::engine::AbortSignal;
use std::sync::{Arc, Mutex, PoisonError};

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// The answer that Ctrl-C stops.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Mutex<Option<AbortSignal>>>);

impl Interrupt {
    /// Takes Ctrl-C over from the system.
    pub fn install() -> Result<Self, Failure> {
        let interrupt = Self::default();
        let handler = interrupt.clone();
        ctrlc::set_handler(move || match &*handler.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(answer) => answer.abort(),
            None => std::process::exit(INTERRUPTED),
        })
        .map_err(|error| Failure::other(format!("cannot listen to Ctrl-C: {error}")))?;
        Ok(interrupt)
    }

    /// From now on Ctrl-C raises the signal that this gives.
    pub fn arm(&self) -> AbortSignal {
        let signal = AbortSignal::new();
        self.set(Some(signal.clone()));
        signal
    }

    /// From now on Ctrl-C ends the program again.
    pub fn disarm(&self) {
        self.set(None);
    }

    fn set(&self, signal: Option<AbortSignal>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = signal;
    }
}
