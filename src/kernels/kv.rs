//! Attention over the key/value cache of one layer: two buffers, each [kv head][slot < capacity][head_dim]. Position p has the slot p % capacity in
//! a ring; otherwise p - first, and where there are more positions than `capacity`, several such pairs of buffers: segments.

use super::kv_type::KvType;
use super::source::Source;
use crate::gpu::Traffic;

/// A layer's attention. Its kernels are [`Attention::prefill`] for many rows, [`Attention::decode`] then [`Attention::merge`] for one.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Query heads, a multiple of `kv_heads`.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Elements of a head, a multiple of 8, at most 256.
    pub head_dim: u32,
    /// Positions of a sequence.
    pub context: u32,
    /// Positions that the buffers hold: those of the whole context; the last so many, where `window` and a prefill's rows are no more; or
    /// those of a segment.
    pub capacity: u32,
    /// The first position of the segment; 0 for the first or only one.
    pub first: u32,
    /// Positions that a row attends to, its own among them; 0 for all (Beltagy et al. 2020).
    pub window: u32,
    /// Parts of 256 positions in the stretch of a workgroup of [`Attention::decode`]. `first` is a
    /// multiple of a stretch.
    pub run: u32,
    /// How the cache is stored.
    pub kv_type: KvType,
    /// Factor on every score, mostly 1 / √head_dim.
    pub scale: f32,
    /// c of `c · tanh(score / c)` (Gemma 2); 0 for none.
    pub soft_cap: f32,
    /// The greatest exponent of ALiBi's slopes, mostly 8 (Press et al. 2021); 0 for none.
    pub alibi: f32,
}

impl Attention {
    pub(super) fn heads_per_kv(&self) -> u32 {
        debug_assert!(self.heads.is_multiple_of(self.kv_heads) && self.head_dim.is_multiple_of(8) && self.head_dim <= 256);
        self.heads / self.kv_heads
    }

    /// Bytes of a position's keys and values.
    pub(super) fn position_bytes(&self) -> u64 {
        2 * self.kv_type.bytes(1, self.kv_heads, self.head_dim)
    }

    /// Adds what all its kernels have in common; `half` as for [`KvType::read_only`].
    pub(super) fn source(&self, half: bool) -> Source {
        let source = Source::new()
            .uint("HEADS", self.heads)
            .uint("HEADS_PER_KV", self.heads_per_kv())
            .uint("HEAD_DIM", self.head_dim)
            .uint("CAPACITY", self.capacity)
            .uint("FIRST", self.first)
            .flag("RING", self.is_ring())
            .uint("WINDOW", self.window)
            .float("SCALE", self.scale)
            .float("SOFT_CAP", self.soft_cap)
            .float("ALIBI", self.alibi);
        self.kv_type
            .read_only(source, self.head_dim, self.capacity * self.kv_heads, half)
            .step()
            .fragment(include_str!("../../shaders/lib/soft_cap.wgsl"))
            .fragment(include_str!("../../shaders/lib/score.wgsl"))
    }

    /// Later positions are written over those that no row sees any more.
    pub(super) fn is_ring(&self) -> bool {
        self.window > 0 && self.capacity < self.context
    }

    /// What one run of a kernel reads: of the positions so far those in its buffers.
    pub(super) fn traffic(&self, passes: u32) -> Traffic {
        Traffic {
            first_position: self.first,
            per_position: u64::from(passes) * self.position_bytes(),
            most_positions: self.capacity,
            per_row: self.row_bytes(),
            ..Default::default()
        }
    }

    /// ALiBi's slope of a head.
    fn slope(&self, head: usize) -> f64 {
        let n = 1 << self.heads.ilog2();
        let exponent = if head < n { (head + 1) as f64 } else { (2 * (head - n) + 1) as f64 / 2.0 };
        if self.alibi > 0.0 { (-f64::from(self.alibi) * exponent / n as f64).exp2() } else { 0.0 }
    }

    /// Bytes of a row of queries.
    pub(super) fn row_bytes(&self) -> u64 {
        4 * u64::from(self.heads * self.head_dim)
    }

    /// Every kernel's twin in f64: `q` is (rows, heads, head_dim), row 0 at `position`; `k` and `v` are (kv_heads, context, head_dim), with
    /// every position in its place; the result is as q.
    pub fn reference(&self, q: &[f64], k: &[f64], v: &[f64], position: usize) -> Vec<f64> {
        let [heads, head_dim, context] = [self.heads, self.head_dim, self.context].map(|n| n as usize);
        let mut y = Vec::with_capacity(q.len());
        for (i, q) in q.chunks_exact(head_dim).enumerate() {
            let (row, head) = (i / heads, i % heads);
            let first = head / self.heads_per_kv() as usize * context * head_dim;
            let own = position + row;
            let earliest = if self.window > 0 { (own + 1).saturating_sub(self.window as usize) } else { 0 };
            let seen = first + earliest * head_dim..first + (own + 1) * head_dim;
            let dot = |k: &[f64]| q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>();
            let score = |(i, k)| {
                let scaled = f64::from(self.scale) * dot(k);
                let cap = f64::from(self.soft_cap);
                let capped = if cap > 0.0 { cap * (scaled / cap).tanh() } else { scaled };
                capped - self.slope(head) * (own - earliest - i) as f64
            };
            let scores: Vec<f64> = k[seen.clone()].chunks_exact(head_dim).enumerate().map(score).collect();
            let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mut sums = vec![0.0; head_dim];
            for (weight, v) in weights.iter().zip(v[seen].chunks_exact(head_dim)) {
                sums.iter_mut().zip(v).for_each(|(sum, v)| *sum += weight * v);
            }
            y.extend(sums.iter().map(|sum| sum / total));
        }
        y
    }
}
