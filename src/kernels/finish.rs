//! What becomes of a product: the last part of [`super::Matvec`] and [`super::Matmul`], so that no dispatch of its own has to read it again.

use super::kv::KvType;
use super::sample::Sequence;
use super::source::Source;
use crate::gpu::Access::{self, Read, ReadWrite};

/// What a product does with its rows. Bindings follow quants, scales and x; the first is the step, or the sequence that begins with it.
#[derive(Debug, Clone, Copy)]
pub enum Finish {
    /// To rows of y. Bindings: step, y.
    Store {
        /// Floats from one row of y to the next, a multiple of 4.
        y_stride: u32,
        /// Where row 0 of W goes in a row of y, a multiple of 4.
        y_first: u32,
        /// Add to y instead of replacing it.
        accumulate: bool,
    },
    /// `silu(gate) · up` (Shazeer 2020) to rows of y. W holds quads of rows of gate and of up by turns. Bindings: step, y.
    Swiglu {
        /// Floats from one row of y to the next, a multiple of 4.
        y_stride: u32,
        /// Where row 0 of W goes in a row of gate and up together, a multiple of 8.
        first: u32,
    },
    /// Queries, keys and values: turned and put where attention wants them. Bindings: step, turns, q, k, v.
    RopeKv(RopeKv),
    /// Added to the residual stream, whose next norm is prepared; matvec only. Bindings: step, residual, norm weight, weighted.
    Residual {
        /// Length of a row of the residual stream.
        k: u32,
        /// Where row 0 of W goes in that row, a multiple of 8.
        first: u32,
        /// Floats from one row of `weighted` to the next.
        weighted_stride: u32,
        /// Partial sums of squares that workgroups of earlier shards leave.
        partial_first: u32,
    },
    /// Logits, penalized, and what sampling has to know of them; matvec only. Bindings: sequence, logits, partials.
    Logits {
        /// Tokens of the vocabulary.
        vocab: u32,
        /// The token of row 0 of W, a multiple of 8.
        first: u32,
        /// Partials that workgroups of earlier shards leave.
        partial_first: u32,
    },
}

/// Rotary position embedding (Su et al. 2021), in pairs of neighbours, and the write into the key/value cache.
#[derive(Debug, Clone, Copy)]
pub struct RopeKv {
    /// Query heads.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Elements of a head, a multiple of 8.
    pub head_dim: u32,
    /// Leading elements of a head that turn, even, at most `head_dim`; the rest stay. `turns` has half as many entries.
    pub rope_dims: u32,
    /// Factor on every sine and cosine (YaRN's; 1 otherwise).
    pub attention_factor: f32,
    /// Positions that the cache holds; keys and values beyond are dropped.
    pub context: u32,
    /// How the cache is stored.
    pub kv_type: KvType,
    /// Where row 0 of W stands in all queries, keys and values, a multiple of 8.
    pub first: u32,
}

impl Finish {
    /// Adds constants and fragments.
    pub(super) fn source(&self, source: Source) -> Source {
        match *self {
            Finish::Store { y_stride, y_first, accumulate } => source
                .uint("Y_STRIDE", y_stride / 4)
                .uint("Y_FIRST", y_first / 4)
                .flag("ACCUMULATE", accumulate)
                .step()
                .fragment(include_str!("../../shaders/finish/store.wgsl")),
            Finish::Swiglu { y_stride, first } => source
                .uint("Y_STRIDE", y_stride / 4)
                .uint("Y_FIRST", first / 8)
                .step()
                .fragment(include_str!("../../shaders/finish/swiglu.wgsl")),
            Finish::RopeKv(rope) => rope.source(source),
            Finish::Residual { k, first, weighted_stride, partial_first } => source
                .uint("RESIDUAL_STRIDE", k / 4)
                .uint("WEIGHTED_STRIDE", weighted_stride / 4)
                .uint("Y_FIRST", first / 4)
                .uint("PARTIAL_FIRST", partial_first)
                .step()
                .fragment(include_str!("../../shaders/finish/residual.wgsl")),
            Finish::Logits { vocab, first, partial_first } => source
                .uint("VOCAB", vocab)
                .uint("Y_FIRST", first / 4)
                .uint("PARTIAL_FIRST", partial_first)
                .sequence()
                .fragment(include_str!("../../shaders/finish/logits.wgsl")),
        }
    }

    pub(super) fn accesses(&self) -> &'static [Access] {
        match self {
            Finish::Store { .. } | Finish::Swiglu { .. } => &[Read, ReadWrite],
            Finish::RopeKv(_) => &[Read, Read, ReadWrite, ReadWrite, ReadWrite],
            Finish::Residual { .. } => &[Read, ReadWrite, Read, ReadWrite],
            Finish::Logits { .. } => &[Read, ReadWrite, ReadWrite],
        }
    }

    /// Bytes read for one token row of `rows` products.
    pub(super) fn row_bytes(&self, rows: u32) -> u64 {
        let rows = u64::from(rows);
        match self {
            Finish::Store { accumulate: false, .. } | Finish::Swiglu { .. } => 0,
            Finish::Store { accumulate: true, .. } => 4 * rows,
            Finish::RopeKv(rope) => 2 * u64::from(rope.rope_dims),
            Finish::Residual { .. } => 8 * rows,
            Finish::Logits { .. } => Sequence::FIXED_BYTES,
        }
    }
}

impl RopeKv {
    fn source(&self, source: Source) -> Source {
        debug_assert!(self.head_dim.is_multiple_of(8) && self.rope_dims.is_multiple_of(2) && self.rope_dims <= self.head_dim);
        let source = source
            .uint("HEADS", self.heads)
            .uint("KV_HEADS", self.kv_heads)
            .uint("HEAD_DIM", self.head_dim)
            .uint("ROPE_DIMS", self.rope_dims)
            .float("ATTENTION_FACTOR", self.attention_factor)
            .uint("CONTEXT", self.context)
            .uint("Y_FIRST", self.first / 4);
        self.kv_type
            .access(source)
            .step()
            .fragment(include_str!("../../shaders/lib/rope.wgsl"))
            .fragment(include_str!("../../shaders/finish/rope_kv.wgsl"))
    }
}

/// The contents of the binding `turns`: each pair's angle per position, given in radians, in 2^-32 turns.
pub fn rope_turns(freqs: &[f64]) -> Vec<u32> {
    // Whole turns do not matter: the integer wraps just as the angle does.
    freqs.iter().map(|freq| (freq / std::f64::consts::TAU * 4_294_967_296.0).round() as i64 as u32).collect()
}

/// One head of `x` at `position`, its pairs of neighbours turned by `freqs` (radians per position) in f64; elements beyond stay.
pub fn rope_reference(x: &[f64], position: u32, freqs: &[f64], attention_factor: f64) -> Vec<f64> {
    let mut y = x.to_vec();
    for (pair, freq) in y.chunks_exact_mut(2).zip(freqs) {
        let (sin, cos) = (f64::from(position) * freq).sin_cos();
        let (a, b) = (pair[0], pair[1]);
        pair.copy_from_slice(&[attention_factor * (a * cos - b * sin), attention_factor * (a * sin + b * cos)]);
    }
    y
}
