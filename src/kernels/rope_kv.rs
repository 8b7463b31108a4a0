//! Rotary position embedding (Su et al. 2021) and the write into the key/value cache.

use super::kv::KvType;
use super::source::Source;
use crate::gpu::{Access, Dispatch, Grid, Traffic};

/// Which elements of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RopeLayout {
    /// Elements 2i and 2i + 1.
    Interleaved,
    /// Elements i and i + rope_dims / 2.
    HalfSplit,
}

/// For each of the step's rows: queries turned into q (rows of heads · head_dim), keys turned into the cache, values into the cache.
/// Bindings: qkv, turns, q, k, v, step.
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
    /// Which elements turn together.
    pub layout: RopeLayout,
    /// Factor on every sine and cosine (YaRN's; 1 otherwise).
    pub attention_factor: f32,
    /// Positions that the cache holds; keys and values beyond are dropped.
    pub context: u32,
    /// How the cache is stored.
    pub kv_type: KvType,
    /// Floats from one row of qkv to the next.
    pub qkv_stride: u32,
    /// Where the queries begin in a row of qkv.
    pub q_first: u32,
    /// Where the keys begin in a row of qkv.
    pub k_first: u32,
    /// Where the values begin in a row of qkv.
    pub v_first: u32,
}

impl RopeKv {
    /// The dispatch.
    pub fn dispatch(&self) -> Dispatch {
        debug_assert!(self.head_dim.is_multiple_of(8) && self.rope_dims.is_multiple_of(2) && self.rope_dims <= self.head_dim);
        let source = Source::new()
            .uint("HEADS", self.heads)
            .uint("KV_HEADS", self.kv_heads)
            .uint("HEAD_DIM", self.head_dim)
            .uint("ROPE_DIMS", self.rope_dims)
            .flag("INTERLEAVED", self.layout == RopeLayout::Interleaved)
            .float("ATTENTION_FACTOR", self.attention_factor)
            .uint("CONTEXT", self.context)
            .uint("QKV_STRIDE", self.qkv_stride)
            .uint("Q_FIRST", self.q_first)
            .uint("K_FIRST", self.k_first)
            .uint("V_FIRST", self.v_first);
        let shader = self.kv_type.access(source).step().fragment(include_str!("../../shaders/lib/rope.wgsl")).build(
            "rope_kv",
            include_str!("../../shaders/rope_kv.wgsl"),
            &[Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite, Access::ReadWrite, Access::Read],
        );
        let elements = (self.heads + 2 * self.kv_heads) * self.head_dim;
        Dispatch {
            shader,
            grid: Grid::Rows { x: (elements / 4).div_ceil(64), tile: 1 },
            traffic: Traffic { fixed: 2 * u64::from(self.rope_dims), per_row: 4 * u64::from(elements), ..Default::default() },
        }
    }
}

/// The contents of [`RopeKv`]'s `turns`: each pair's angle per position, given in radians, in 2^-32 turns.
pub fn rope_turns(freqs: &[f64]) -> Vec<u32> {
    // Whole turns do not matter: the integer wraps just as the angle does.
    freqs.iter().map(|freq| (freq / std::f64::consts::TAU * 4_294_967_296.0).round() as i64 as u32).collect()
}

/// One head of `x` at `position`, turned by `freqs` (radians per position) in f64; elements beyond `2 · freqs.len()` stay.
pub fn rope_reference(x: &[f64], position: u32, freqs: &[f64], layout: RopeLayout, attention_factor: f64) -> Vec<f64> {
    let mut y = x.to_vec();
    for (i, freq) in freqs.iter().enumerate() {
        let (a, b) = match layout {
            RopeLayout::Interleaved => (2 * i, 2 * i + 1),
            RopeLayout::HalfSplit => (i, i + freqs.len()),
        };
        let (sin, cos) = (f64::from(position) * freq).sin_cos();
        y[a] = attention_factor * (x[a] * cos - x[b] * sin);
        y[b] = attention_factor * (x[a] * sin + x[b] * cos);
    }
    y
}
