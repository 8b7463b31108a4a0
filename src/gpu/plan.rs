//! A plan: dispatches whose pipelines, buffers and bind groups were all made beforehand, so that running it creates nothing.

use super::buffer::Binding;
use super::device::Gpu;
use super::pipeline::{Pipeline, Shader};
use super::record::{Ran, encode_timed};
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
    /// `y` workgroups for every `tile` rows, those of the same y one after the other: what they share stays in caches.
    Tokens {
        /// Rows that one workgroup handles.
        tile: u32,
        /// Workgroups in y.
        y: u32,
    },
    /// `x` workgroups for each of `choices` experts.
    Choices {
        /// Workgroups in x.
        x: u32,
        /// Workgroups in y.
        choices: u32,
    },
    /// `x` workgroups for every `tile` rows, for each expert: all rows may choose the same.
    Experts {
        /// Workgroups in x.
        x: u32,
        /// Rows that one workgroup handles.
        tile: u32,
        /// Workgroups in z.
        experts: u32,
    },
    /// `x` workgroups for every `tile` positions of the context so far, from `first` on.
    Context {
        /// Workgroups in x.
        x: u32,
        /// Positions that other dispatches handle.
        first: u32,
        /// Positions that one workgroup handles.
        tile: u32,
        /// Times x that there are workgroups at most.
        most: u32,
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
            Grid::Tokens { tile, y } => [span.rows.div_ceil(tile), y, 1],
            Grid::Choices { x, choices } => [x, choices, 1],
            Grid::Experts { x, tile, experts } => [x, span.rows.div_ceil(tile), experts],
            Grid::Context { x, first, tile, most } => {
                [x, (span.position + span.rows).saturating_sub(first).div_ceil(tile).min(most), 1]
            }
        }
    }
}

/// Bytes that a kernel reads from memory, as it declares them itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// In every dispatch.
    pub fixed: u64,
    /// The first position that is read,
    pub first_position: u32,
    /// bytes of every position of the context so far from there on,
    pub per_position: u64,
    /// but for so many at most; 0 for no limit.
    pub most_positions: u32,
    /// For every row.
    pub per_row: u64,
}

impl Traffic {
    /// Bytes for one run over `span`.
    pub fn bytes(self, span: Span) -> u64 {
        let positions = (span.position + span.rows).saturating_sub(self.first_position);
        let read = if self.most_positions > 0 { positions.min(self.most_positions) } else { positions };
        self.fixed + self.per_position * u64::from(read) + self.per_row * u64::from(span.rows)
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

pub(super) struct Step {
    pipeline: Rc<Pipeline>,
    bind_group: wgpu::BindGroup,
    grid: Grid,
    traffic: Traffic,
    // Buffers free themselves when their last handle goes: a plan keeps those that it uses.
    bindings: Vec<Binding>,
}

impl Step {
    /// What a recording keeps of it.
    pub(super) fn ran(&self, span: Span) -> Ran {
        Ran {
            pipeline: self.pipeline.clone(),
            groups: self.grid.groups(span),
            bytes: self.traffic.bytes(span),
            bindings: self.bindings.iter().map(Binding::bytes).collect(),
            time: None,
        }
    }

    /// Encodes it; `last` is the pipeline that is set already.
    pub(super) fn encode<'a>(&'a self, pass: &mut wgpu::ComputePass<'_>, last: &mut Option<&'a Rc<Pipeline>>, span: Span) {
        if !last.is_some_and(|pipeline| Rc::ptr_eq(pipeline, &self.pipeline)) {
            pass.set_pipeline(self.pipeline.raw());
            *last = Some(&self.pipeline);
        }
        pass.set_bind_group(0, &self.bind_group, &[]);
        let [x, y, z] = self.grid.groups(span);
        pass.dispatch_workgroups(x, y, z);
    }
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
        self.steps.push(Step { pipeline, bind_group, grid: dispatch.grid, traffic: dispatch.traffic, bindings: bindings.to_vec() });
    }

    /// Encodes all of it.
    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, span: Span) {
        let mut last = None;
        self.steps.iter().for_each(|step| step.encode(pass, &mut last, span));
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
}

/// Encodes plans, one after the other, each over its span, into one compute pass (unless a recording wants to time each dispatch).
pub(super) fn encode(gpu: &Gpu, encoder: &mut wgpu::CommandEncoder, plans: &[(&Plan, Span)]) {
    let steps = plans.iter().flat_map(|(plan, span)| plan.steps.iter().map(|step| (step, *span)));
    if let Some(timestamps) = gpu.record(steps.clone()) {
        return encode_timed(gpu, encoder, &steps.collect::<Vec<_>>(), &timestamps);
    }
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    let mut last = None;
    steps.for_each(|(step, span)| step.encode(&mut pass, &mut last, span));
}
