//! The model: its configuration as data, its weights on the GPU, and the plan of dispatches that a step is.

#![allow(clippy::module_inception, reason = "the room's main type is the model")]

mod config;
mod family;
mod model;
mod plan;
pub mod rope;
mod weights;
mod workspace;

pub use config::{ConfigError, ModelConfig, Rope, RopeLayout, RopeScaling};
pub use model::Model;
pub use weights::{GateUp, LayerWeights, Projection, WeightLoader, Weights, WeightsError};
