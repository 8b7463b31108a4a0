//! What becomes of a product: the last part of [`super::Matvec`] and [`super::Matmul`], so that no dispatch of its own has to read it again.

use super::kv_type::KvType;
use super::sample::Sequence;
use super::source::Source;
use crate::gpu::Access::{self, Read, ReadWrite};

/// An activation of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// None.
    #[default]
    Identity,
    /// x · sigmoid(x) (Elfwing et al. 2018).
    Silu,
    /// The Gaussian error linear unit (Hendrycks and Gimpel 2016), by tanh.
    Gelu,
    /// max(x, 0)² (So et al. 2021).
    ReluSquared,
}

impl Activation {
    /// Adds its number and the fragment.
    pub(super) fn source(self, source: Source) -> Source {
        source.uint("ACTIVATION", self as u32).fragment(include_str!("../../shaders/lib/activation.wgsl"))
    }

    /// In f64.
    pub fn reference(self, x: f64) -> f64 {
        match self {
            Activation::Identity => x,
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
            Activation::ReluSquared => x.max(0.0).powi(2),
        }
    }
}

/// What a product's values go through before they are put away: `activation(cap(scale · (value + bias)))`.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// There is a bias: behind all other bindings, but behind the turns where [`Finish::RopeKv`] follows (see [`bias_offset`]).
    pub bias: bool,
    /// Factor.
    pub scale: f32,
    /// c of `c · tanh(x / c)` (Gemma 2); 0 for none.
    pub soft_cap: f32,
    /// Last.
    pub activation: Activation,
}

impl Outcome {
    /// Nothing happens to them.
    pub const PLAIN: Self = Self { bias: false, scale: 1.0, soft_cap: 0.0, activation: Activation::Identity };

    /// In f64.
    pub fn reference(&self, value: f64, bias: f64) -> f64 {
        let scaled = f64::from(self.scale) * (value + if self.bias { bias } else { 0.0 });
        let cap = f64::from(self.soft_cap);
        self.activation.reference(if cap > 0.0 { cap * (scaled / cap).tanh() } else { scaled })
    }

    fn source(&self, source: Source, finish: &Finish) -> Source {
        let source = source.float("OUTCOME_SCALE", self.scale).float("SOFT_CAP", self.soft_cap);
        let source = self.activation.source(source);
        let source = match (self.bias, finish) {
            (false, _) => source.fragment(include_str!("../../shaders/lib/bias_none.wgsl")),
            (true, Finish::RopeKv { heads, .. }) => source
                .uint("BIAS_QUAD", (bias_offset(heads.rope_dims) / 16) as u32)
                .fragment(include_str!("../../shaders/lib/bias_turns.wgsl")),
            (true, _) => source
                .uint("BIAS_BINDING", 3 + finish.accesses().len() as u32)
                .fragment(include_str!("../../shaders/lib/bias.wgsl")),
        };
        source.fragment(include_str!("../../shaders/lib/soft_cap.wgsl")).fragment(include_str!("../../shaders/lib/outcome.wgsl"))
    }
}

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
    /// `activation(gate) · up` (Shazeer 2020) to rows of y. W holds quads of rows of gate and of up by turns. Bindings: step, y.
    Gated {
        /// Of the gate.
        activation: Activation,
        /// Times the weight of the choice in a mixture of experts. Bindings: the choices, behind all others.
        weighted: bool,
        /// Floats from one row of y to the next, a multiple of 4.
        y_stride: u32,
        /// Where row 0 of W goes in a row of gate and up together, a multiple of 8.
        first: u32,
    },
    /// Queries, keys and values: turned and put where attention wants them, in a plain [`KvType`]. Bindings: step, turns, q, k, v.
    RopeKv {
        /// How and where.
        heads: RopeKv,
        /// Where row 0 of W stands in all queries, keys and values, a multiple of 8.
        first: u32,
    },
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
    /// t and n of the factor `1 + t ln(1 + ⌊position / n⌋)` on queries, if there is one.
    pub temperature: Option<(f32, u32)>,
    /// End of the positions of a sequence, or of those that the segment holds; keys and values beyond are dropped.
    pub context: u32,
    /// Positions that the cache's buffers hold: those of the whole context, the last so many, or those of a segment.
    pub capacity: u32,
    /// The segment's first position.
    pub first: u32,
    /// How the cache is stored.
    pub kv_type: KvType,
}

impl Finish {
    /// Adds constants and fragments, those of `outcome` among them.
    pub(super) fn source(&self, source: Source, outcome: &Outcome) -> Source {
        let source = match self {
            Finish::Gated { .. } => source,
            _ => outcome.source(source, self),
        };
        match *self {
            Finish::Store { y_stride, y_first, accumulate } => source
                .uint("Y_STRIDE", y_stride / 4)
                .uint("Y_FIRST", y_first / 4)
                .flag("ACCUMULATE", accumulate)
                .step()
                .fragment(include_str!("../../shaders/finish/store.wgsl")),
            Finish::Gated { activation, weighted, y_stride, first } => activation
                .source(source)
                .fragment(match weighted {
                    true => include_str!("../../shaders/lib/weight_routing.wgsl"),
                    false => include_str!("../../shaders/lib/weight_none.wgsl"),
                })
                .uint("Y_STRIDE", y_stride / 4)
                .uint("Y_FIRST", first / 8)
                .step()
                .fragment(include_str!("../../shaders/finish/gated.wgsl")),
            Finish::RopeKv { heads, first } => {
                debug_assert!(heads.kv_type.is_plain(), "blocks are put away by `Heads`");
                heads.source(source).uint("Y_FIRST", first / 4).fragment(include_str!("../../shaders/finish/rope_kv.wgsl"))
            }
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

    /// The bindings that follow quants, scales and x.
    pub(super) fn bindings(&self, outcome: &Outcome) -> Vec<Access> {
        let own_binding = outcome.bias && !matches!(self, Finish::RopeKv { .. });
        self.accesses().iter().copied().chain(own_binding.then_some(Read)).collect()
    }

    /// It reads what was chosen.
    pub(super) fn is_weighted(&self) -> bool {
        matches!(self, Finish::Gated { weighted: true, .. })
    }

    fn accesses(&self) -> &'static [Access] {
        match self {
            Finish::Store { .. } | Finish::Gated { .. } => &[Read, ReadWrite],
            Finish::RopeKv { .. } => &[Read, Read, ReadWrite, ReadWrite, ReadWrite],
            Finish::Residual { .. } => &[Read, ReadWrite, Read, ReadWrite],
            Finish::Logits { .. } => &[Read, ReadWrite, ReadWrite],
        }
    }

    /// Bytes read for one token row of `rows` products.
    pub(super) fn row_bytes(&self, rows: u32, outcome: &Outcome) -> u64 {
        let rows = u64::from(rows);
        let bias = if outcome.bias { 4 * rows } else { 0 };
        bias + match self {
            Finish::Store { accumulate: false, .. } | Finish::Gated { .. } => 0,
            Finish::Store { accumulate: true, .. } => 4 * rows,
            Finish::RopeKv { heads, .. } => 2 * u64::from(heads.rope_dims),
            Finish::Residual { .. } => 8 * rows,
            Finish::Logits { .. } => Sequence::FIXED_BYTES,
        }
    }
}

impl RopeKv {
    /// A row of queries, keys and values at `position` as they are put away, in f64; `freqs` are radians per position.
    pub fn reference(&self, row: &[f64], position: u32, freqs: &[f64]) -> Vec<f64> {
        let temperature = match self.temperature {
            Some((scale, positions)) => 1.0 + f64::from(scale) * f64::from(position / positions).ln_1p(),
            None => 1.0,
        };
        let [queries, turning] = [self.heads, self.heads + self.kv_heads].map(|heads| heads as usize);
        let heads = row.chunks_exact(self.head_dim as usize).enumerate();
        heads
            .flat_map(|(head, x)| {
                let factor = if head < queries { temperature } else { 1.0 };
                let freqs = if head < turning { freqs } else { &[] };
                let turned = rope_reference(x, position, freqs, f64::from(self.attention_factor));
                turned.into_iter().map(move |x| factor * x)
            })
            .collect()
    }

    pub(super) fn source(&self, source: Source) -> Source {
        debug_assert!(self.head_dim.is_multiple_of(8) && self.rope_dims.is_multiple_of(2) && self.rope_dims <= self.head_dim);
        let source = source
            .uint("HEADS", self.heads)
            .uint("KV_HEADS", self.kv_heads)
            .uint("HEAD_DIM", self.head_dim)
            .uint("ROPE_DIMS", self.rope_dims)
            .float("ATTENTION_FACTOR", self.attention_factor)
            .float("TEMPERATURE", self.temperature.map_or(0.0, |(scale, _)| scale))
            .uint("TEMPERATURE_POSITIONS", self.temperature.map_or(1, |(_, positions)| positions))
            .uint("CONTEXT", self.context)
            .uint("CAPACITY", self.capacity)
            .uint("FIRST", self.first);
        let source = self
            .kv_type
            .cache(source, self.head_dim, self.capacity * self.kv_heads)
            .step()
            .fragment(include_str!("../../shaders/lib/rope.wgsl"))
            .fragment(include_str!("../../shaders/lib/heads.wgsl"));
        self.kv_type.place(source)
    }
}

/// The contents of the binding `turns`: each pair's angle per position, given in radians, in 2^-32 turns, and behind them, from
/// [`bias_offset`] on, room for the bias of queries, keys and values where there is one.
pub fn rope_turns(freqs: &[f64]) -> Vec<u32> {
    // Whole turns do not matter: the integer wraps just as the angle does.
    let mut turns: Vec<u32> =
        freqs.iter().map(|freq| (freq / std::f64::consts::TAU * 4_294_967_296.0).round() as i64 as u32).collect();
    turns.resize((bias_offset(2 * freqs.len() as u32) / 4) as usize, 0);
    turns
}

/// Byte offset of the bias behind the turns of `rope_dims` elements.
pub fn bias_offset(rope_dims: u32) -> u64 {
    4 * u64::from((rope_dims / 2).next_multiple_of(4).max(4))
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
