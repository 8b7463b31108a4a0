//! Quantized matrix times one to eight vectors: every projection of a decode step.

use super::experts::ExpertRows;
use super::finish::{Finish, Outcome};
use super::format::Format;
use super::source::Source;
use super::variant::{Arithmetic, MatvecVariant};
use crate::gpu::{Access, Capabilities, Dispatch, Grid, Traffic};

/// `W x` for `vectors` vectors. Bindings: quants, scales, x, those of `finish`, the bias, and the choices where there are experts.
#[derive(Debug, Clone, Copy)]
pub struct Matvec {
    /// Weight format.
    pub format: Format,
    /// Rows of W (of this shard), or of each of its experts.
    pub rows: u32,
    /// Columns of W: the length of x, a multiple of 8 and of the format's block.
    pub k: u32,
    /// Vectors, 1 to 8.
    pub vectors: u32,
    /// Floats from one vector of x to the next, a multiple of 4.
    pub x_stride: u32,
    /// x was prepared by [`Finish::Residual`], [`super::Weigh`] or [`super::SamplePick`] for a norm that this product completes.
    pub norm: Option<DeferredNorm>,
    /// W holds the rows of several experts; one vector only.
    pub experts: Option<ExpertRows>,
    /// How it is spread over the device, and how it multiplies.
    pub variant: MatvecVariant,
    /// What the products go through,
    pub outcome: Outcome,
    /// and what becomes of them.
    pub finish: Finish,
}

/// The second half of an RMSNorm whose first half multiplied the row by the norm's weight and left sums of its squares behind it.
#[derive(Debug, Clone, Copy)]
pub struct DeferredNorm {
    /// ε (`attention.layer_norm_rms_epsilon`).
    pub epsilon: f32,
    /// Partial sums of squares behind the row, one vec4 each.
    pub partials: u32,
}

/// With fewer workgroups a GPU of many cores idles: [`MatvecVariant::spread`] of 0 avoids them.
const FEW_WORKGROUPS: u32 = 64;

impl Matvec {
    /// The dispatch.
    pub fn dispatch(&self, capabilities: Capabilities) -> Dispatch {
        debug_assert!((1..=8).contains(&self.vectors) && self.k.is_multiple_of(self.format.block_columns()));
        let partials = self.norm.map_or(0, |norm| norm.partials);
        let source = Source::new()
            .uint("QUADS", self.rows.div_ceil(4))
            .uint("K", self.k)
            .uint("RUN", self.run())
            .uint("COLUMNS", self.vectors)
            .uint("X_STRIDE", self.x_stride / 4)
            .uint("NORM_PARTIALS", partials)
            .float("NORM_EPSILON", self.norm.map_or(0.0, |norm| norm.epsilon));
        let mut source = self.format.read_for(self.arithmetic(), source).reduce(self.variant.workgroup, self.group(), capabilities);
        let mut bindings = vec![Access::Read; 3];
        bindings.extend(self.finish.bindings(&self.outcome));
        if self.experts.is_some() || self.finish.is_weighted() {
            source = source.uint("ROUTING_BINDING", bindings.len() as u32).fragment(include_str!("../../shaders/lib/routing.wgsl"));
            bindings.push(Access::Read);
        }
        let (source, kernel) = match (self.vectors, &self.experts) {
            (1, None) => (self.pair(source), include_str!("../../shaders/matvec.wgsl")),
            (1, Some(experts)) => {
                let source = experts.source(source).flag("SUMMED", experts.of_choices);
                (self.pair(source), include_str!("../../shaders/matvec_experts.wgsl"))
            }
            _ => (source, include_str!("../../shaders/matvec_many.wgsl")),
        };
        let name = if self.arithmetic() == Arithmetic::Int8 { "matvec_int8" } else { "matvec" };
        let shader = self.finish.source(source, &self.outcome).build(name, kernel, &bindings);
        let planes = self.format.planes(self.rows, self.k);
        // A shard holds its part of the chosen experts, on average.
        let [read, of] = self.experts.map_or([1, 1], |experts| [experts.used * experts.count, experts.total]).map(u64::from);
        let row = 4 * u64::from(self.k) + 16 * u64::from(partials) + self.finish.row_bytes(self.rows, &self.outcome);
        Dispatch {
            shader,
            grid: match &self.experts {
                Some(ExpertRows { of_choices: false, used, .. }) => Grid::Choices { x: self.workgroups(), choices: *used },
                Some(_) => Grid::Choices { x: self.workgroups(), choices: 1 },
                None => Grid::Linear(self.workgroups()),
            },
            traffic: Traffic {
                fixed: read * (planes.quants + planes.scales) / of + u64::from(self.vectors) * row,
                ..Default::default()
            },
        }
    }

    /// Workgroups of the dispatch, each of which leaves one partial where `finish` makes some.
    pub fn workgroups(&self) -> u32 {
        self.workgroups_of(self.group())
    }

    /// The same for `group` invocations that share two quads.
    fn workgroups_of(&self, group: u32) -> u32 {
        self.rows.div_ceil(8).div_ceil(self.variant.workgroup / group)
    }

    /// How it multiplies: as its variant says, but in f32 where the format has no codes of 8 bits, and with several vectors.
    pub fn arithmetic(&self) -> Arithmetic {
        if self.vectors == 1 { self.variant.arithmetic.with(self.format) } else { Arithmetic::F32 }
    }

    /// The product of two quads with one vector.
    fn pair(&self, source: Source) -> Source {
        let source = source.fragment(include_str!("../../shaders/lib/pair.wgsl"));
        match self.arithmetic() {
            Arithmetic::F32 | Arithmetic::Unshifted => source.fragment(include_str!("../../shaders/lib/pair_f32.wgsl")),
            Arithmetic::Int8 => source
                .fragment(include_str!("../../shaders/lib/int8.wgsl"))
                .fragment(include_str!("../../shaders/lib/pair_int8.wgsl")),
        }
    }

    /// Units of 8 columns that an invocation takes in one turn: few enough that their weights and inputs do not need too many registers. For
    /// inputs of 8 bits they are a block of inputs.
    fn run(&self) -> u32 {
        match self.arithmetic() {
            Arithmetic::F32 | Arithmetic::Unshifted => (self.format.scale_columns() / 8).min(if self.vectors == 1 { 4 } else { 2 }),
            Arithmetic::Int8 => self.format.int8_columns() / 8,
        }
    }

    /// Invocations that share two quads: enough to split the columns, few enough that little of them idles in the last turn.
    fn group(&self) -> u32 {
        let runs = self.k / (8 * self.run());
        let most = match runs {
            0..=15 => 4,
            16..=63 => 8,
            64..=127 => 16,
            _ => 32,
        };
        let busy = |group: &u32| 100 * runs >= 85 * runs.next_multiple_of(*group);
        let group = [most, most / 2, 4].into_iter().find(busy).unwrap_or(4).max(4);
        let spread = |times: u32| (group * times).min(self.variant.workgroup);
        match self.variant.spread {
            0 => [1, 2, 4].map(spread).into_iter().find(|group| self.workgroups_of(*group) >= FEW_WORKGROUPS).unwrap_or(spread(8)),
            times => spread(times),
        }
    }
}

/// `y[v][r] = Σ_k w[r][k] x[v][k]` in f64; `w` is (rows, k), `x` is (vectors, k), the result is (vectors, rows).
pub fn matvec_reference(w: &[f64], x: &[f64], rows: usize, k: usize) -> Vec<f64> {
    x.chunks_exact(k)
        .flat_map(|x| w.chunks_exact(k).take(rows).map(|w| w.iter().zip(x).map(|(w, x)| w * x).sum()).collect::<Vec<f64>>())
        .collect()
}
