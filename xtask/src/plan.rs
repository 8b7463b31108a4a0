//! What `kinglet shaders` and the program `isa` write: a model's steps, and what a compiler made of their kernels.

use serde::Deserialize;
use std::collections::BTreeMap;

/// `plan.json`.
#[derive(Debug, Deserialize)]
pub struct Plan {
    pub model: String,
    pub tier: String,
    pub subgroups: bool,
    pub tokens_in_flight: u32,
    pub shaders: Vec<ShaderFile>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
pub struct ShaderFile {
    pub file: String,
    pub kernel: String,
    pub constants: String,
}

/// One decode step or one prefill chunk.
#[derive(Debug, Deserialize)]
pub struct Step {
    pub step: String,
    pub position: u32,
    pub rows: u32,
    pub dispatches: Vec<Dispatch>,
}

#[derive(Debug, Deserialize)]
pub struct Dispatch {
    /// Index into [`Plan::shaders`].
    pub shader: usize,
    pub groups: [u64; 3],
    /// Bytes read, as the kernel declares them.
    pub bytes: u64,
    /// Bytes bound, by binding.
    pub bindings: Vec<u64>,
}

/// What one compiler made of a folder of shaders; in the order of [`Plan::shaders`].
#[derive(Debug, Deserialize)]
pub struct Compiled {
    pub device: String,
    pub shaders: Vec<Code>,
}

#[derive(Debug, Default, Clone, Deserialize)]
pub struct Code {
    pub file: String,
    /// Invocations of a workgroup.
    pub workgroup: u32,
    pub quants: Option<Quants>,
    /// Invocations that run together.
    pub subgroup: u32,
    pub vgprs: u32,
    pub sgprs: u32,
    pub spilled_vgprs: u32,
    pub spilled_sgprs: u32,
    pub scratch_bytes: u32,
    pub lds_bytes: u32,
    pub instructions: u32,
    pub code_bytes: u32,
    pub loops: Vec<Loop>,
}

/// Where a kernel's quantized weights are, and how wide one is: as invocations load it, where some words are loaded more than once, and as it
/// is stored.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Quants {
    pub binding: u32,
    pub bits: u32,
    pub stored_bits: u32,
}

/// A loop; the first is the whole program.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Loop {
    /// Index of the loop around it, which comes before it.
    pub parent: Option<usize>,
    /// Instructions of one turn that are in no inner loop.
    pub instructions: u32,
    /// Turns, where they are a number in the code or follow from the text's constants.
    pub turns: Option<u32>,
    /// Bytes that an invocation loads in one turn, inner loops not counted, by binding.
    pub loads: BTreeMap<u32, u32>,
}
