//! Quantized matrix times many token rows, tiled: every projection of prefill. Its twin is [`super::matvec_reference`].

use super::experts::ExpertRows;
use super::finish::{Finish, Outcome};
use super::format::Format;
use super::source::Source;
use super::variant::{Arithmetic, MatmulVariant, Tiling};
use crate::gpu::{Access, Capabilities, Dispatch, Grid, Traffic};
use std::cmp::Reverse;

/// `X Wᵀ` for the step's rows. Bindings: quants, scales, x, those of `finish`, the bias, and where there are experts the choices (if `finish`
/// weighs them) and the lists of [`super::GroupChoices`].
#[derive(Debug, Clone, Copy)]
pub struct Matmul {
    /// Weight format.
    pub format: Format,
    /// Rows of W (of this shard), or of each of its experts.
    pub rows: u32,
    /// Columns of W: the length of a row of X, a multiple of 8 and of the format's block.
    pub k: u32,
    /// Floats from one row of X to the next, a multiple of 4.
    pub x_stride: u32,
    /// Token rows of a workgroup's tile: 32 or 64.
    pub tile_tokens: u32,
    /// W holds the rows of several experts; rows of y are choices.
    pub experts: Option<ExpertRows>,
    /// How it is computed.
    pub variant: MatmulVariant,
    /// What the products go through,
    pub outcome: Outcome,
    /// and what becomes of them.
    pub finish: Finish,
}

/// Weight rows of a workgroup's tile, as in `matmul.wgsl`.
const TILE_ROWS: u32 = 64;
/// Token rows of a workgroup's tile, as in `matmul_rows.wgsl`.
const ROWS_TILE_TOKENS: u32 = 16;

impl Matmul {
    /// How it multiplies: as its variant says, but in f32 where the format has no codes of 8 bits.
    pub fn arithmetic(&self) -> Arithmetic {
        self.variant.arithmetic.with(self.format)
    }

    /// The dispatch.
    pub fn dispatch(&self, capabilities: Capabilities) -> Dispatch {
        debug_assert!(self.k.is_multiple_of(self.format.block_columns()) && matches!(self.tile_tokens, 32 | 64));
        debug_assert!(!matches!(self.finish, Finish::Residual { .. } | Finish::Logits { .. }), "these are for one row");
        let source = Source::new().uint("QUADS", self.rows.div_ceil(4)).uint("K", self.k).uint("X_STRIDE", self.x_stride / 4);
        let tiling = self.tiling(capabilities);
        let (source, name, kernel) = match (tiling, self.arithmetic()) {
            (Tiling::Rows { lanes }, _) => (
                source.uint("WORKGROUP", self.rows_workgroup()).uint("LANES", lanes).uint("TURN", self.units_a_turn()).subgroups(),
                "matmul_rows",
                include_str!("../../shaders/matmul_rows.wgsl"),
            ),
            (Tiling::Shared, arithmetic) => {
                let source = source.uint("UNITS", self.k / 8).uint("TILE_TOKENS", self.tile_tokens);
                match arithmetic {
                    Arithmetic::F32 | Arithmetic::Unshifted => (source, "matmul", include_str!("../../shaders/matmul.wgsl")),
                    Arithmetic::Int8 => (source, "matmul_int8", include_str!("../../shaders/matmul_int8.wgsl")),
                }
            }
        };
        let mut bindings = vec![Access::Read; 3];
        bindings.extend(self.finish.bindings(&self.outcome));
        let mut source = self.format.read_for(self.arithmetic(), source);
        if self.finish.is_weighted() {
            source = source.uint("ROUTING_BINDING", bindings.len() as u32).fragment(include_str!("../../shaders/lib/routing.wgsl"));
            bindings.push(Access::Read);
        }
        let source = match &self.experts {
            None => match tiling {
                Tiling::Shared => source.fragment(include_str!("../../shaders/lib/tokens_all.wgsl")),
                Tiling::Rows { lanes } => source
                    .fragment(include_str!("../../shaders/lib/sums.wgsl"))
                    .fragment(match self.variant.quads {
                        2 => include_str!("../../shaders/lib/quads_2.wgsl"),
                        _ => include_str!("../../shaders/lib/quads_1.wgsl"),
                    })
                    .fragment(match lanes {
                        8 => include_str!("../../shaders/lib/lanes_8.wgsl"),
                        _ => include_str!("../../shaders/lib/lanes_4.wgsl"),
                    }),
            },
            Some(experts) => {
                let lists = bindings.len() as u32;
                bindings.push(Access::Read);
                experts
                    .source(source)
                    .uint("LISTS_BINDING", lists)
                    .uint("LIST_ROWS", experts.rows)
                    .flag("X_OF_CHOICES", experts.of_choices)
                    .fragment(include_str!("../../shaders/lib/tokens_routed.wgsl"))
            }
        };
        let source = match self.arithmetic() {
            Arithmetic::F32 | Arithmetic::Unshifted => source,
            Arithmetic::Int8 => source.fragment(include_str!("../../shaders/lib/int8.wgsl")),
        };
        let shader = self.finish.source(source, &self.outcome).build(name, kernel, &bindings);
        let planes = self.format.planes(self.rows, self.k);
        let (x, tile) = (self.rows.div_ceil(TILE_ROWS), self.tile_tokens);
        Dispatch {
            shader,
            grid: match (&self.experts, tiling) {
                (Some(experts), _) => Grid::Experts { x, tile, experts: experts.count },
                (None, Tiling::Shared) => Grid::Rows { x, tile },
                (None, Tiling::Rows { .. }) => {
                    Grid::Tokens { tile: ROWS_TILE_TOKENS, y: self.rows.div_ceil(4 * self.variant.quads * self.rows_workgroup()) }
                }
            },
            traffic: Traffic {
                // In a prompt every expert may be wanted.
                fixed: u64::from(self.experts.map_or(1, |experts| experts.count)) * (planes.quants + planes.scales),
                per_row: 4 * u64::from(self.k) + self.finish.row_bytes(self.rows, &self.outcome),
                ..Default::default()
            },
        }
    }

    /// Units that `matmul_rows.wgsl` has in a turn of its loop: two, so that it asks for scales half as often. SwiftShader, for which weights are
    /// not shifted, is a third slower with a loop of that length.
    fn units_a_turn(&self) -> u32 {
        if self.arithmetic() == Arithmetic::Unshifted || !self.k.is_multiple_of(16) { 1 } else { 2 }
    }

    /// Invocations of a workgroup of `matmul_rows.wgsl`, each with its quads of weight rows: as many, up to 64, as leave the fewest without any.
    fn rows_workgroup(&self) -> u32 {
        let lanes = if let Tiling::Rows { lanes } = self.variant.tiling { lanes } else { 4 };
        let (each, subgroup) = (self.variant.quads, self.variant.subgroup.clamp(lanes, 64));
        let quads = self.rows.div_ceil(4);
        let sizes = (subgroup..=64).step_by(subgroup as usize).filter(|size| size * each >= 32);
        sizes.max_by_key(|size| Reverse(quads.next_multiple_of(size * each))).unwrap_or(64)
    }

    /// The tiling that there is: [`Tiling::Rows`] needs subgroups of its size, reads no lists of experts, and multiplies in f32.
    fn tiling(&self, capabilities: Capabilities) -> Tiling {
        match self.experts {
            None if capabilities.subgroups && self.arithmetic() != Arithmetic::Int8 => self.variant.tiling,
            _ => Tiling::Shared,
        }
    }
}
