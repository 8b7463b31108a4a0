//! The first half of an RMSNorm that a [`super::Matvec`] completes.

use super::source::Source;
use crate::gpu::{Access, Capabilities, Dispatch, Grid, Traffic};

/// Row 0 of x times the norm's weight, and behind it its sum of squares. Bindings: x, norm weight, weighted.
#[derive(Debug, Clone, Copy)]
pub struct Weigh {
    /// Length of a row, a multiple of 4.
    pub k: u32,
    /// Partial sums of squares that the matvec expects behind the row, one vec4 each, at least 1.
    pub partials: u32,
}

const WORKGROUP: u32 = 64;

impl Weigh {
    /// The dispatch.
    pub fn dispatch(&self, capabilities: Capabilities) -> Dispatch {
        let shader = Source::new()
            .uint("K", self.k)
            .uint("PARTIALS", self.partials)
            .reduce(WORKGROUP, WORKGROUP, capabilities)
            .build("weigh", include_str!("../../shaders/weigh.wgsl"), &[Access::Read, Access::Read, Access::ReadWrite]);
        Dispatch { shader, grid: Grid::Linear(1), traffic: Traffic { fixed: 8 * u64::from(self.k), ..Default::default() } }
    }
}
