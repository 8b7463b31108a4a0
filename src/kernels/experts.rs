//! Mixtures of experts (Shazeer et al. 2017): which experts a token goes to is decided on the GPU, and only their weights are read.

use super::source::Source;
use crate::gpu::{Access, Capabilities, Dispatch, Grid, Traffic};

/// Bytes of a choice: the expert, and the bits of its weight.
pub const CHOICE_BYTES: u64 = 8;

/// Which experts' rows a product's matrix holds, and how many of them a token goes to.
#[derive(Debug, Clone, Copy)]
pub struct ExpertRows {
    /// The first expert of this shard.
    pub first: u32,
    /// Experts of this shard.
    pub count: u32,
    /// Experts of all shards.
    pub total: u32,
    /// Experts of a token.
    pub used: u32,
    /// x has a row for each choice: one token's products are added up. Otherwise all choices of a token read its row.
    pub of_choices: bool,
    /// Token rows of a step at most, which [`GroupChoices`] made room for.
    pub rows: u32,
}

impl ExpertRows {
    /// Adds the constants.
    pub(super) fn source(&self, source: Source) -> Source {
        source.uint("FIRST_EXPERT", self.first).uint("EXPERTS", self.count).uint("USED", self.used)
    }
}

/// The choice of experts for each of the step's rows. Bindings: logits of the router, choices (rows, used), weights of the shared expert (rows).
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Experts, at most 2,048.
    pub experts: u32,
    /// Experts of a token.
    pub used: u32,
    /// Floats from one row of logits to the next.
    pub stride: u32,
    /// The chosen experts' weights sum to `scale`.
    pub normalized: bool,
    /// Factor on all weights.
    pub scale: f32,
    /// Where in a row the gate of the shared expert stands, if it has one.
    pub shared_at: Option<u32>,
}

const WORKGROUP: u32 = 64;

impl Route {
    /// The dispatch.
    pub fn dispatch(&self, capabilities: Capabilities) -> Dispatch {
        debug_assert!(self.experts <= 32 * WORKGROUP && self.used <= self.experts);
        let shader = Source::new()
            .uint("EXPERTS", self.experts)
            .uint("USED", self.used)
            .uint("LOGITS_STRIDE", self.stride)
            .flag("NORMALIZED", self.normalized)
            .float("WEIGHT_SCALE", self.scale)
            .flag("SHARED", self.shared_at.is_some())
            .uint("SHARED_AT", self.shared_at.unwrap_or(0))
            .reduce(WORKGROUP, WORKGROUP, capabilities)
            .build("route", include_str!("../../shaders/route.wgsl"), &[Access::Read, Access::ReadWrite, Access::ReadWrite]);
        let per_row = 4 * u64::from(self.experts) * u64::from(2 + self.used);
        Dispatch { shader, grid: Grid::Rows { x: 1, tile: 1 }, traffic: Traffic { per_row, ..Default::default() } }
    }

    /// The choices for rows of logits, in f64: (expert, weight), `used` of them a row.
    pub fn reference(&self, logits: &[f64]) -> Vec<(u32, f64)> {
        logits
            .chunks_exact(self.stride as usize)
            .flat_map(|row| {
                let row = &row[..self.experts as usize];
                let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = row.iter().map(|logit| (logit - highest).exp()).collect();
                let mut order: Vec<usize> = (0..row.len()).collect();
                order.sort_by(|a, b| row[*b].total_cmp(&row[*a]).then(a.cmp(b)));
                order.truncate(self.used as usize);
                let total: f64 = match self.normalized {
                    true => order.iter().map(|expert| weights[*expert]).sum(),
                    false => weights.iter().sum(),
                };
                let scale = f64::from(self.scale);
                order.into_iter().map(|expert| (expert as u32, scale * weights[expert] / total)).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// The choices of all rows by expert, for [`super::Matmul`]. Bindings: choices, step, lists.
#[derive(Debug, Clone, Copy)]
pub struct GroupChoices {
    /// Experts.
    pub experts: u32,
    /// Experts of a token.
    pub used: u32,
    /// Token rows of a step at most.
    pub rows: u32,
}

impl GroupChoices {
    /// The dispatch.
    pub fn dispatch(&self) -> Dispatch {
        let shader = Source::new().uint("USED", self.used).uint("LIST_ROWS", self.rows).step().build(
            "group",
            include_str!("../../shaders/group.wgsl"),
            &[Access::Read, Access::Read, Access::ReadWrite],
        );
        let per_row = 2 * CHOICE_BYTES * u64::from(self.experts) * u64::from(self.used);
        Dispatch { shader, grid: Grid::Linear(self.experts), traffic: Traffic { per_row, ..Default::default() } }
    }

    /// Bytes of the lists: for each expert a count and room for every token.
    pub fn bytes(&self) -> u64 {
        4 * u64::from(self.experts) * u64::from(self.rows + 1)
    }
}

/// The rows of a token's choices added up: `y[token] += scale · Σ x[token · used + choice]`. Bindings: x, y.
#[derive(Debug, Clone, Copy)]
pub struct SumChoices {
    /// Length of a row, a multiple of 4.
    pub k: u32,
    /// Experts of a token.
    pub used: u32,
    /// Factor.
    pub scale: f32,
}

impl SumChoices {
    /// The dispatch.
    pub fn dispatch(&self) -> Dispatch {
        let shader = Source::new().uint("K", self.k).uint("USED", self.used).float("SCALE", self.scale).build(
            "sum_choices",
            include_str!("../../shaders/sum_choices.wgsl"),
            &[Access::Read, Access::ReadWrite],
        );
        let per_row = 4 * u64::from(self.k) * u64::from(self.used + 1);
        let grid = Grid::Rows { x: (self.k / 4).div_ceil(64), tile: 1 };
        Dispatch { shader, grid, traffic: Traffic { per_row, ..Default::default() } }
    }
}
