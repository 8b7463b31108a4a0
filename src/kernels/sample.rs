//! Drawing the next token on the GPU: two dispatches, [`SampleScan`] over the whole vocabulary and [`SamplePick`] for the draw.
//!
//! The order is that of the field: temperature, top-k, top-p, min-p, then one draw with a counter-based generator (Philox), so that a seed
//! and the number of tokens drawn decide everything. What is kept and how it is counted is written in `sample_pick.wgsl`.

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
    /// Fills the structure up to 32 bytes.
    pub padding: u32,
}

/// The last tokens of a sequence, as `lib/history.wgsl` has it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct History {
    /// Tokens ever appended.
    pub count: u32,
    /// Token number n is at `n % LEN`.
    pub ids: [u32; History::LEN],
}

impl History {
    /// Tokens that it remembers.
    pub const LEN: usize = 64;

    /// A history in which `ids` came last.
    pub fn new(ids: &[u32]) -> Self {
        let last = &ids[ids.len().saturating_sub(Self::LEN)..];
        let mut history = Self { count: last.len() as u32, ids: [0; Self::LEN] };
        history.ids[..last.len()].copy_from_slice(last);
        history
    }

    /// The remembered tokens, in no particular order.
    pub fn recent(&self) -> &[u32] {
        &self.ids[..Self::LEN.min(self.count as usize)]
    }
}

/// Workgroups of the scan and bytes of what each of them leaves, as in `lib/sampling.wgsl`.
const PARTIALS: u32 = 128;
const PARTIAL_BYTES: u64 = 12;

/// The maximum and the softmax's sum of each part of the logits. Bindings: logits (vocab padded to a multiple of 4), sampling, partials.
#[derive(Debug, Clone, Copy)]
pub struct SampleScan {
    /// Tokens of the vocabulary.
    pub vocab: u32,
}

impl SampleScan {
    /// Bytes of the partials.
    pub const PARTIALS_BYTES: u64 = PARTIALS as u64 * PARTIAL_BYTES;

    /// The dispatch.
    pub fn dispatch(&self) -> Dispatch {
        let shader = Source::new()
            .uint("VOCAB", self.vocab)
            .uint("QUADS", self.vocab.div_ceil(4))
            .fragment(include_str!("../../shaders/lib/sampling.wgsl"))
            .build("sample_scan", include_str!("../../shaders/sample_scan.wgsl"), &[Access::Read, Access::Read, Access::ReadWrite]);
        let traffic = Traffic { fixed: 4 * u64::from(self.vocab), ..Default::default() };
        Dispatch { shader, grid: Grid::Linear(PARTIALS), traffic }
    }
}

/// The draw: the token goes to the step and to `ids[0]` and joins the history; position goes up by the step's rows, and the next step has one.
/// Bindings: logits, partials, sampling, step, ids, history.
#[derive(Debug, Clone, Copy)]
pub struct SamplePick {
    /// Tokens of the vocabulary, fewer than 2²⁴.
    pub vocab: u32,
}

impl SamplePick {
    /// The dispatch. Its traffic is that of a greedy draw, which reads the partials only; other draws read the logits once to seventeen times.
    pub fn dispatch(&self) -> Dispatch {
        debug_assert!(self.vocab < 1 << 24);
        let quads = self.vocab.div_ceil(4);
        let run = quads.div_ceil(256);
        let shader = Source::new()
            .uint("VOCAB", self.vocab)
            .uint("QUADS", quads)
            .uint("RUN", run)
            .uint("PART", run.div_ceil(256))
            .step()
            .fragment(include_str!("../../shaders/lib/history.wgsl"))
            .fragment(include_str!("../../shaders/lib/sampling.wgsl"))
            .fragment(include_str!("../../shaders/lib/philox.wgsl"))
            .build(
                "sample_pick",
                include_str!("../../shaders/sample_pick.wgsl"),
                &[Access::Read, Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite, Access::ReadWrite],
            );
        let bytes = SampleScan::PARTIALS_BYTES + (size_of::<SamplingGpu>() + size_of::<Step>()) as u64;
        Dispatch { shader, grid: Grid::Linear(1), traffic: Traffic { fixed: bytes, ..Default::default() } }
    }
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
