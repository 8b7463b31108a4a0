//! Queries, keys and values of models that do something to them before RoPE.

use super::finish::RopeKv;
use super::norm::{Norm, NormKind, NormTarget};
use super::source::Source;
use crate::gpu::{Access, Capabilities, Dispatch, Grid, Traffic};

/// Clamps, norms, turns and places the step's rows of queries, keys and values. Bindings: rows, step, turns, weights of the norm of queries
/// and of keys (without a norm, anything), q, k, v.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// How they turn and where they go.
    pub rope: RopeKv,
    /// Elements are brought into ± this (MPT); 0 for no limit.
    pub clamp: f32,
    /// The norm of queries and keys.
    pub norm: Option<HeadNorm>,
}

/// A norm of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadNorm {
    /// Which.
    pub kind: NormKind,
    /// ε.
    pub epsilon: f32,
    /// What is normed together.
    pub over: HeadNormOver,
}

/// What a norm of queries and keys is taken over, and which weights it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadNormOver {
    /// Each head, all with the same weights (Qwen3, Gemma 3).
    Head,
    /// Each head with weights of its own (StableLM 2).
    OwnHead,
    /// All queries, and all keys (OLMo 2).
    All,
}

const WORKGROUP: u32 = 64;

impl Heads {
    /// The dispatch.
    pub fn dispatch(&self, capabilities: Capabilities) -> Dispatch {
        let over = self.norm.map(|norm| norm.over);
        let source = self
            .rope
            .source(Source::new())
            .float("CLAMP", self.clamp)
            .flag("NORM_HEAD", matches!(over, Some(HeadNormOver::Head | HeadNormOver::OwnHead)))
            .flag("NORM_ALL", over == Some(HeadNormOver::All))
            .flag("CENTER", self.norm.is_some_and(|norm| norm.kind == NormKind::Layer))
            .float("EPSILON", self.norm.map_or(0.0, |norm| norm.epsilon))
            .uint("WEIGHT_STRIDE", if over == Some(HeadNormOver::Head) { 0 } else { self.rope.head_dim / 4 });
        use Access::{Read, ReadWrite};
        let shader = source.reduce(WORKGROUP, WORKGROUP, capabilities).build(
            "heads",
            include_str!("../../shaders/heads.wgsl"),
            &[Read, Read, Read, Read, Read, ReadWrite, ReadWrite, ReadWrite],
        );
        let heads = self.rope.heads + 2 * self.rope.kv_heads;
        Dispatch {
            shader,
            grid: Grid::Rows { x: heads, tile: 1 },
            traffic: Traffic { per_row: 4 * u64::from(heads * self.rope.head_dim), ..Default::default() },
        }
    }

    /// A row of queries, keys and values at `position` as they are put away, in f64; `weights` are those of the norms of queries and of keys,
    /// `freqs` radians per position.
    pub fn reference(&self, row: &[f64], weights: [&[f64]; 2], position: u32, freqs: &[f64]) -> Vec<f64> {
        let limit = if self.clamp > 0.0 { f64::from(self.clamp) } else { f64::INFINITY };
        let mut row: Vec<f64> = row.iter().map(|x| x.clamp(-limit, limit)).collect();
        let dim = self.rope.head_dim as usize;
        let (queries, rest) = row.split_at_mut(self.rope.heads as usize * dim);
        let keys = &mut rest[..self.rope.kv_heads as usize * dim];
        if let Some(HeadNorm { kind, epsilon, over }) = self.norm {
            for (part, weights) in [queries, keys].into_iter().zip(weights) {
                let length = if over == HeadNormOver::All { part.len() } else { dim };
                let norm =
                    Norm { kind, k: length as u32, epsilon, bias: false, target: NormTarget::Rows, workgroup: Norm::ONE_ROW };
                for (i, run) in part.chunks_exact_mut(length).enumerate() {
                    let first = if over == HeadNormOver::OwnHead { i * dim } else { 0 };
                    let normed = norm.reference(run, &weights[first..][..length], &[]);
                    run.copy_from_slice(&normed);
                }
            }
        }
        self.rope.reference(&row, position, freqs)
    }
}
