//! The key/value cache of one layer: two buffers, each [kv head][position < context][head_dim]; and the attention that reads it.

use super::source::Source;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KvType {
    /// IEEE half precision, two to a word.
    #[default]
    F16,
    /// IEEE single precision.
    F32,
}

impl KvType {
    /// Both types.
    pub const ALL: [KvType; 2] = [KvType::F16, KvType::F32];

    /// `f16` or `f32`.
    pub fn name(self) -> &'static str {
        match self {
            KvType::F16 => "f16",
            KvType::F32 => "f32",
        }
    }

    /// The type called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kv_type| kv_type.name() == name)
    }

    fn element_bytes(self) -> u64 {
        match self {
            KvType::F16 => 2,
            KvType::F32 => 4,
        }
    }

    /// Bytes of the keys of one layer, and as many again of its values.
    pub fn bytes(self, context: u32, kv_heads: u32, head_dim: u32) -> u64 {
        self.element_bytes() * u64::from(context) * u64::from(kv_heads) * u64::from(head_dim)
    }

    /// Adds the fragment that reads and writes this type.
    pub(super) fn access(self, source: Source) -> Source {
        source.fragment(match self {
            KvType::F16 => include_str!("../../shaders/lib/kv_f16.wgsl"),
            KvType::F32 => include_str!("../../shaders/lib/kv_f32.wgsl"),
        })
    }
}

/// A layer's attention. Its kernels are [`Attention::prefill`] for many rows, [`Attention::decode`] then [`Attention::merge`] for one.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Query heads, a multiple of `kv_heads`.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Elements of a head, a multiple of 8, at most 256.
    pub head_dim: u32,
    /// Positions that the cache holds.
    pub context: u32,
    /// How the cache is stored.
    pub kv_type: KvType,
    /// Factor on every score, mostly 1 / √head_dim.
    pub scale: f32,
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

    /// Bytes of a row of queries.
    pub(super) fn row_bytes(&self) -> u64 {
        4 * u64::from(self.heads * self.head_dim)
    }

    /// Every kernel's twin in f64: `q` is (rows, heads, head_dim), row 0 at `position`; `k` and `v` are (kv_heads, context, head_dim);
    /// the result is as q.
    pub fn reference(&self, q: &[f64], k: &[f64], v: &[f64], position: usize) -> Vec<f64> {
        let [heads, head_dim, context] = [self.heads, self.head_dim, self.context].map(|n| n as usize);
        let mut y = Vec::with_capacity(q.len());
        for (i, q) in q.chunks_exact(head_dim).enumerate() {
            let (row, head) = (i / heads, i % heads);
            let first = head / self.heads_per_kv() as usize * context * head_dim;
            let seen = first..first + (position + row + 1) * head_dim;
            let dot = |k: &[f64]| q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>();
            let scores: Vec<f64> = k[seen.clone()].chunks_exact(head_dim).map(|k| f64::from(self.scale) * dot(k)).collect();
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
