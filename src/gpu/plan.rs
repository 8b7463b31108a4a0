//! A plan: dispatches whose pipelines, buffers and bind groups were all made beforehand, so that running it creates nothing.

use super::buffer::Binding;
use super::device::Gpu;
use super::pipeline::{Pipeline, Shader};
use std::rc::Rc;

/// The token rows that one run of a plan works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Position of the first row in its sequence.
    pub position: u32,
    /// Number of rows (1 in decode).
    pub rows: u32,
}

/// How many workgroups a dispatch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grid {
    /// That many workgroups; the kernel numbers them `y * num_workgroups.x + x` and ignores those beyond.
    Linear(u32),
    /// `x` workgroups for every `tile` rows.
    Rows {
        /// Workgroups in x.
        x: u32,
        /// Rows that one workgroup handles.
        tile: u32,
    },
    /// `x` workgroups for every `tile` positions of the context so far.
    Context {
        /// Workgroups in x.
        x: u32,
        /// Positions that one workgroup handles.
        tile: u32,
    },
}

/// WebGPU's floor for `maxComputeWorkgroupsPerDimension`.
const MAX_GROUPS: u32 = 65_535;

impl Grid {
    fn groups(self, span: Span) -> [u32; 3] {
        match self {
            Grid::Linear(count) if count <= MAX_GROUPS => [count, 1, 1],
            Grid::Linear(count) => {
                let y = count.div_ceil(MAX_GROUPS);
                [count.div_ceil(y), y, 1]
            }
            Grid::Rows { x, tile } => [x, span.rows.div_ceil(tile), 1],
            Grid::Context { x, tile } => [x, (span.position + span.rows).div_ceil(tile), 1],
        }
    }
}

/// Bytes that a kernel reads from memory, as it declares them itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// In every dispatch.
    pub fixed: u64,
    /// For every position of the context so far.
    pub per_position: u64,
    /// For every row.
    pub per_row: u64,
}

impl Traffic {
    /// Bytes for one run over `span`.
    pub fn bytes(self, span: Span) -> u64 {
        self.fixed + self.per_position * u64::from(span.position + span.rows) + self.per_row * u64::from(span.rows)
    }
}

/// A kernel ready to be put into a plan.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// What runs.
    pub shader: Shader,
    /// In how many workgroups.
    pub grid: Grid,
    /// What it reads.
    pub traffic: Traffic,
}

struct Step {
    pipeline: Rc<Pipeline>,
    bind_group: wgpu::BindGroup,
    grid: Grid,
    traffic: Traffic,
    // Buffers free themselves when their last handle goes: a plan keeps those that it uses.
    _bindings: Vec<Binding>,
}

/// Dispatches in order.
#[derive(Default)]
pub struct Plan {
    steps: Vec<Step>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| step.pipeline.name())).finish()
    }
}

impl Plan {
    /// Appends a dispatch with its bindings.
    pub fn push(&mut self, gpu: &Gpu, dispatch: &Dispatch, bindings: &[Binding]) {
        let pipeline = gpu.pipeline(&dispatch.shader);
        let bind_group = gpu.bind_group(&pipeline, bindings);
        self.steps.push(Step {
            pipeline,
            bind_group,
            grid: dispatch.grid,
            traffic: dispatch.traffic,
            _bindings: bindings.to_vec(),
        });
    }

    /// Number of dispatches.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// No dispatch at all.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Kernel names in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.steps.iter().map(|step| step.pipeline.name())
    }

    /// Bytes that one run over `span` reads, as the kernels declare them.
    pub fn bytes_read(&self, span: Span) -> u64 {
        self.steps.iter().map(|step| step.traffic.bytes(span)).sum()
    }

    /// Encodes all dispatches into one compute pass.
    pub(super) fn encode(&self, encoder: &mut wgpu::CommandEncoder, span: Span) {
        encode_all(encoder, &[self], span);
    }
}

/// Encodes several plans, one after the other, into one compute pass.
pub(super) fn encode_all(encoder: &mut wgpu::CommandEncoder, plans: &[&Plan], span: Span) {
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: None });
    let mut last: Option<&Rc<Pipeline>> = None;
    for step in plans.iter().flat_map(|plan| &plan.steps) {
        if !last.is_some_and(|pipeline| Rc::ptr_eq(pipeline, &step.pipeline)) {
            pass.set_pipeline(step.pipeline.raw());
            last = Some(&step.pipeline);
        }
        pass.set_bind_group(0, &step.bind_group, &[]);
        let [x, y, z] = step.grid.groups(span);
        pass.dispatch_workgroups(x, y, z);
    }
}
