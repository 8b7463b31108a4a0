//! The model: its configuration as data, its weights on the GPU, and the plan of dispatches that a step is.

#![allow(clippy::module_inception, reason = "the room's main type is the model")]

mod arena;
mod block;
mod cache;
mod config;
mod experts;
mod family;
mod keys;
mod loader;
mod model;
mod passes;
mod plan;
pub mod rope;
#[cfg(test)]
mod sample;
mod tuner;
mod tuning;
mod weights;
mod widen;
mod workspace;

pub use arena::{ArenaPlan, Shape};
pub use cache::{KvBytes, RESERVED_CONTEXT};
pub use config::{ConfigError, DEFAULT_CONTEXT, Experts, ModelConfig, Rope, RopeLayout, RopeScaling};
pub use loader::{WeightLoader, WeightsError};
pub use model::Model;
pub use tuner::tune;
pub use tuning::{Measure, ProductShape, TunedBy, Tuning, TuningOptions};
pub use weights::{
    Dense, ExpertWeights, FeedForward, GateUp, LayerWeights, Linear, NormWeights, Projection, Qkv, QkvBias, Up, Weights,
};
pub use widen::Widening;
