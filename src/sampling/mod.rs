//! How the next token is chosen: the parameters that a caller sets, their limits, and the form in which the GPU reads them.

mod params;

pub use params::{SamplingError, SamplingParams};
