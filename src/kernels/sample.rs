//! Drawing the next token on the GPU: the LM head's epilogue ([`super::Finish::Logits`]) penalizes and sums up, [`SamplePick`] draws.
//!
//! The order is that of the field: temperature, top-k, top-p, min-p, then one draw with a counter-based generator (Philox), so that a seed
//! and the number of tokens drawn decide everything. What is kept and how it is counted is written in `sample_pick.wgsl`.

use super::format::Format;
use super::source::{Source, Step};
use crate::gpu::{Access, Dispatch, Grid, Traffic};

/// How to draw, as `lib/sampling.wgsl` has it; written once for each answer.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SamplingGpu {
    /// 0 draws the most probable token.
    pub temperature: f32,
    /// Tokens kept by top-k; 0 keeps all.
    pub top_k: u32,
    /// Mass kept by top-p, in units of 2⁻³²; 0 keeps all.
    pub top_p: u32,
    /// Half the distance in logits from the most probable token at which min-p ends: `temperature · ln(min_p) / 2`; [`f32::MIN`] keeps all.
    pub min_p_reach: f32,
    /// 1 changes nothing.
    pub repeat_penalty: f32,
    /// Low half of the seed.
    pub seed_low: u32,
    /// High half of the seed.
    pub seed_high: u32,
}

/// All that changes from step to step of one sequence, in one buffer, as `lib/sequence.wgsl` has it: the [`Step`], how to draw, the last
/// tokens, and one bit for each token of the vocabulary that is among these.
#[derive(Debug)]
pub struct Sequence;

impl Sequence {
    /// Tokens that it remembers.
    pub const HISTORY: usize = 64;
    /// Bytes before the bits.
    pub(super) const FIXED_BYTES: u64 = Self::ANSWER_OFFSET + (size_of::<SamplingGpu>() + 4 + 4 * Self::HISTORY) as u64;
    /// Byte offset of what [`Sequence::answer`] makes; the [`Step`] comes before it.
    pub const ANSWER_OFFSET: u64 = size_of::<Step>() as u64;

    /// Bytes for a vocabulary of `vocab` tokens.
    pub fn bytes(vocab: u32) -> u64 {
        Self::FIXED_BYTES + 4 * u64::from(vocab.div_ceil(32))
    }

    /// Everything but the step, for an answer that is drawn as `sampling` says and in which `ids` came before.
    pub fn answer(sampling: &SamplingGpu, ids: &[u32], vocab: u32) -> Vec<u32> {
        let last = &ids[ids.len().saturating_sub(Self::HISTORY)..];
        let mut words = bytemuck::cast_slice(std::slice::from_ref(sampling)).to_vec();
        words.push(last.len() as u32);
        words.extend(last);
        words.resize(words.len() + Self::HISTORY - last.len(), 0);
        let bits = words.len();
        words.resize(bits + vocab.div_ceil(32) as usize, 0);
        for &id in last.iter().filter(|id| **id < vocab) {
            words[bits + id as usize / 32] |= 1 << (id % 32);
        }
        words
    }
}

/// Bytes of what a workgroup of the LM head leaves, as in `lib/sampling.wgsl`.
const PARTIAL_BYTES: u64 = 12;

/// What follows a draw.
#[derive(Debug, Clone, Copy)]
pub enum Next {
    /// The token is embedded and the first norm prepared. Further bindings: norm weight, residual, weighted.
    Embed {
        /// Format of the embedding matrix.
        format: Format,
        /// Its columns, a multiple of 8.
        k: u32,
        /// Factor on every value (1 for most families).
        scale: f32,
        /// Partial sums of squares that the first layer expects, one vec4 each.
        norm_partials: u32,
    },
    /// The token's id is left for [`super::Embed`], where the embedding matrix is split. Further bindings: ids.
    Id,
}

/// The draw: the token goes to the step and joins the history; position goes up by the step's rows, and the next step has one.
/// Bindings: quants and scales of the embedding, sequence, logits (vocab padded to a multiple of 4), partials, and those of `next`.
#[derive(Debug, Clone, Copy)]
pub struct SamplePick {
    /// Tokens of the vocabulary, fewer than 2²⁴.
    pub vocab: u32,
    /// Partials that the LM head leaves.
    pub partials: u32,
    /// What follows.
    pub next: Next,
}

impl SamplePick {
    /// Bytes of `partials` partials.
    pub fn partials_bytes(partials: u32) -> u64 {
        u64::from(partials) * PARTIAL_BYTES
    }

    /// The dispatch. Its traffic is that of a greedy draw, which reads the partials only; other draws read the logits once to seventeen times.
    pub fn dispatch(&self) -> Dispatch {
        debug_assert!(self.vocab < 1 << 24);
        let quads = self.vocab.div_ceil(4);
        let run = quads.div_ceil(256);
        let source = Source::new()
            .uint("WORKGROUP", 256)
            .uint("VOCAB", self.vocab)
            .uint("QUADS", quads)
            .uint("PARTIALS", self.partials)
            .uint("RUN", run)
            .uint("PART", run.div_ceil(256))
            .sequence()
            .fragment(include_str!("../../shaders/lib/philox.wgsl"));
        let mut bindings = vec![Access::Read, Access::Read, Access::ReadWrite, Access::Read, Access::Read];
        let mut bytes = Self::partials_bytes(self.partials) + Sequence::FIXED_BYTES;
        let source = match self.next {
            Next::Embed { format, k, scale, norm_partials } => {
                bindings.extend([Access::Read, Access::ReadWrite, Access::ReadWrite]);
                let quad = format.planes(4, k);
                bytes += quad.quants + quad.scales + 4 * u64::from(k);
                let source = source.uint("UNITS", k / 8).float("SCALE", scale).uint("NORM_PARTIALS", norm_partials);
                format
                    .read(source)
                    .fragment(include_str!("../../shaders/lib/row.wgsl"))
                    .fragment(include_str!("../../shaders/next/embed.wgsl"))
            }
            Next::Id => {
                bindings.push(Access::ReadWrite);
                source.fragment(include_str!("../../shaders/next/id.wgsl"))
            }
        };
        let shader = source.build("sample_pick", include_str!("../../shaders/sample_pick.wgsl"), &bindings);
        Dispatch { shader, grid: Grid::Linear(1), traffic: Traffic { fixed: bytes, ..Default::default() } }
    }
}

/// `logits` after the penalty: once for each distinct token of `recent`, a positive logit divided, another multiplied.
pub fn penalty_reference(logits: &[f32], recent: &[u32], penalty: f32) -> Vec<f32> {
    let mut after = logits.to_vec();
    for (&id, index) in recent.iter().zip(0..) {
        if let Some(logit) = after.get_mut(id as usize)
            && !recent[..index].contains(&id)
        {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
    after
}

/// The first word of Philox 4x32-10 (Salmon et al. 2011) for `counter`.
pub fn philox_reference(counter: u32, seed_low: u32, seed_high: u32) -> u32 {
    let (mut c, mut k) = ([counter, 0, 0, 0], [seed_low, seed_high]);
    for _ in 0..10 {
        let a = 0xd251_1f53 * u64::from(c[0]);
        let b = 0xcd9e_8d57 * u64::from(c[2]);
        c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
        k = [k[0].wrapping_add(0x9e37_79b9), k[1].wrapping_add(0xbb67_ae85)];
    }
    c[0]
}

/// The token that `logits` give as draw number `drawn`, by sorting, with probabilities from `f64`; 0 if there is no logit at all.
pub fn sample_reference(logits: &[f32], sampling: &SamplingGpu, drawn: u32) -> u32 {
    let value = |id: usize| match logits[id] {
        l if l.is_nan() => f64::NEG_INFINITY,
        l => f64::from(l).min(f64::from(f32::MAX)),
    };
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // NaN comes after −∞.
    order.sort_by(|&a, &b| value(b).total_cmp(&value(a)).then(logits[a].is_nan().cmp(&logits[b].is_nan())).then(a.cmp(&b)));
    let Some(&best) = order.first() else { return 0 };
    let peak = value(best);
    if sampling.temperature <= 0.0 || peak == f64::NEG_INFINITY {
        return best as u32;
    }
    let weight = |id: usize| ((value(id) - peak) / f64::from(sampling.temperature)).exp();
    let z: f64 = (0..logits.len()).map(weight).sum();
    let mass = |id: usize| (weight(id) / z * f64::from(1u32 << 31)).round() as u64;

    if sampling.top_k > 0 {
        order.truncate(sampling.top_k as usize);
    }
    if sampling.top_p > 0 {
        let total: u64 = order.iter().map(|&id| mass(id)).sum();
        let wanted = (u128::from(total) * u128::from(sampling.top_p)).div_ceil(1 << 32) as u64;
        let mut sum = 0;
        let last = order.iter().position(|&id| {
            sum += mass(id);
            sum >= wanted.max(1)
        });
        order.truncate(last.map_or(order.len(), |last| last + 1));
    }
    order.retain(|&id| (value(id) - peak) / 2.0 >= f64::from(sampling.min_p_reach));

    order.sort_unstable();
    let total: u64 = order.iter().map(|&id| mass(id)).sum();
    let mut rest = (total * u64::from(philox_reference(drawn, sampling.seed_low, sampling.seed_high))) >> 32;
    for id in order {
        if rest < mass(id) {
            return id as u32;
        }
        rest -= mass(id);
    }
    best as u32
}
