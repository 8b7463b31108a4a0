//! Kinglet runs open language models on the user's own GPU: in a web page, inside any web app, and natively on the desktop.
#![warn(missing_docs)]

#[cfg(feature = "engine")]
pub mod gpu;
#[cfg(feature = "engine")]
pub mod kernels;
#[cfg(feature = "engine")]
pub mod model;
#[cfg(feature = "engine")]
pub mod weights;
