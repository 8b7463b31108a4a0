//! The KV cache: keys and values of every layer, `[kv head][slot][head_dim]` each.
//!
//! A layer that attends to all positions keeps them in segments, which are pairs of buffers that are made when the sequence gets there and never
//! moved; each doubles what there is, so that even a long context has few. A layer with a window keeps the last positions, in a ring from the start.

use super::arena::CHUNK;
use super::block::attention;
use super::config::ModelConfig;
use crate::gpu::{Buffer, Gpu, GpuError};
use crate::kernels::{Attention, KvType};

/// Positions that a model has room for when it is loaded: the first segment.
pub const RESERVED_CONTEXT: u32 = 4096;

/// A run of positions that is reserved at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its first position, a multiple of [`Attention::SEGMENT_ALIGNMENT`].
    pub(super) first: u32,
    /// How many.
    pub(super) positions: u32,
}

impl Segment {
    /// The position behind its last.
    pub(super) fn end(self) -> u32 {
        self.first + self.positions
    }
}

/// The segments of a context where a layer's keys of `binding_bytes` bytes fit one binding: as large as all before together.
pub(super) fn segments(config: &ModelConfig, context: u32, kv_type: KvType, binding_bytes: u64) -> Vec<Segment> {
    if (0..config.layers).all(|layer| config.window_of(layer) > 0) {
        return vec![Segment { first: 0, positions: context }];
    }
    let bound = binding_bytes / kv_type.bytes(1, config.kv_heads, config.head_dim).max(1);
    let alignment = Attention::SEGMENT_ALIGNMENT;
    let most = (bound.min(u64::from(u32::MAX)) as u32 / alignment * alignment).max(alignment);
    let mut segments = Vec::new();
    let mut first = 0;
    while first < context {
        let positions = first.max(RESERVED_CONTEXT).min(most).min(context - first);
        segments.push(Segment { first, positions });
        first += positions;
    }
    segments
}

/// Positions that a layer with a window keeps: that and the rows of a chunk, which are written before any of them attends.
pub(super) fn ring(window: u32, context: u32) -> u32 {
    context.min(window.saturating_add(CHUNK))
}

/// Bytes of a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KvBytes {
    /// Of the whole context.
    pub all: u64,
    /// Of what is reserved when the model is loaded.
    pub reserved: u64,
    /// Of the largest buffer that grows with the context and has to fit one binding: a ring, or split attention's partial results.
    pub piece: u64,
}

impl KvBytes {
    /// A context is in several segments.
    pub fn is_segmented(config: &ModelConfig, context: u32) -> bool {
        segments(config, context, KvType::F16, u64::MAX).len() > 1
    }

    /// Of a model at a context.
    pub fn of(config: &ModelConfig, context: u32, kv_type: KvType) -> Self {
        let bytes = |positions| kv_type.bytes(positions, config.kv_heads, config.head_dim);
        let whole = Segment { first: 0, positions: context };
        let mut sum = Self { piece: attention(config, 0, context, whole, kv_type).partials_bytes(), ..Self::default() };
        for layer in 0..config.layers {
            let [all, reserved] = match config.window_of(layer) {
                0 => [context, context.min(RESERVED_CONTEXT)],
                window => {
                    let ring = ring(window, context);
                    sum.piece = sum.piece.max(bytes(ring));
                    [ring; 2]
                }
            };
            sum.all += 2 * bytes(all);
            sum.reserved += 2 * bytes(reserved);
        }
        sum
    }
}

/// Keys and values of one layer and one segment, or of all positions that the layer keeps.
pub(super) struct Kv {
    /// Where its positions begin, and how many there is room for.
    pub(super) segment: Segment,
    pub(super) k: Buffer,
    pub(super) v: Buffer,
}

/// All of them.
pub(super) struct Cache {
    pub(super) context: u32,
    pub(super) kv_type: KvType,
    segments: Vec<Segment>,
    /// For each layer the segments that are there.
    layers: Vec<Vec<Kv>>,
    /// How many of the segments are there.
    made: usize,
    /// A layer keeps its last positions only.
    pub(super) forgets: bool,
}

impl Cache {
    /// The first segment and all rings.
    pub(super) fn new(gpu: &Gpu, config: &ModelConfig, context: u32, kv_type: KvType) -> Result<Self, GpuError> {
        let limits = gpu.limits();
        let segments = segments(config, context, kv_type, limits.binding_bytes.min(limits.buffer_bytes));
        let layers = (0..config.layers).map(|_| Vec::new()).collect();
        let windows = (0..config.layers).map(|layer| config.window_of(layer));
        let forgets = windows.filter(|window| *window > 0).any(|window| ring(window, context) < context);
        let mut cache = Self { context, kv_type, segments, layers, made: 0, forgets };
        cache.grow(gpu, config)?;
        Ok(cache)
    }

    /// Makes the next segment.
    pub(super) fn grow(&mut self, gpu: &Gpu, config: &ModelConfig) -> Result<(), GpuError> {
        let Some(next) = self.segments.get(self.made).copied() else { return Ok(()) };
        let mut made = Vec::new();
        for layer in 0..config.layers {
            let segment = match config.window_of(layer) {
                0 => next,
                _ if self.made > 0 => continue,
                window => Segment { first: 0, positions: ring(window, self.context) },
            };
            let bytes = self.kv_type.bytes(segment.positions, config.kv_heads, config.head_dim);
            made.push((layer as usize, Kv { segment, k: gpu.buffer("keys", bytes)?, v: gpu.buffer("values", bytes)? }));
        }
        made.into_iter().for_each(|(layer, kv)| self.layers[layer].push(kv));
        self.made += 1;
        Ok(())
    }

    /// Forgets the segments behind this one.
    pub(super) fn shrink(&mut self, last: usize) {
        self.made = last + 1;
        self.layers.iter_mut().for_each(|kvs| kvs.truncate(last + 1));
    }

    /// The number of the segment made last.
    pub(super) fn last(&self) -> usize {
        self.made - 1
    }

    /// End of the positions that there is room for.
    pub(super) fn end(&self) -> u32 {
        self.segments[self.last()].end()
    }

    /// The number of the segment that holds a position, or of the last one.
    pub(super) fn segment_of(&self, position: u32) -> usize {
        self.segments[..self.last()].iter().take_while(|segment| segment.end() <= position).count()
    }

    /// End of the segment that holds a position.
    pub(super) fn end_of_segment(&self, position: u32) -> u32 {
        self.segments.iter().map(|segment| segment.end()).find(|end| position < *end).unwrap_or(self.context)
    }

    /// A layer's keys and values, in order, up to the segment with this number.
    pub(super) fn layer(&self, layer: usize, segment: usize) -> &[Kv] {
        let all = &self.layers[layer];
        &all[..all.len().min(segment + 1)]
    }

    /// Of `wanted`, a power of two, as many parts of [`Attention::run`] as all segments begin at a multiple of.
    pub(super) fn run(&self, wanted: u32) -> u32 {
        let parts = self.segments.iter().map(|segment| segment.first / Attention::SEGMENT_ALIGNMENT);
        parts.fold(wanted, |run, first| run.min(1 << first.trailing_zeros().min(31)))
    }

    /// A context has several segments.
    pub(super) fn is_segmented(&self) -> bool {
        self.segments.len() > 1
    }

    /// Bytes of all keys and values that are there.
    pub(super) fn bytes(&self) -> u64 {
        self.layers.iter().flatten().map(|kv| kv.k.size() + kv.v.size()).sum()
    }
}
