//! How a key/value cache stores its numbers.

use super::source::Source;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KvType {
    /// IEEE half precision, two to a word.
    #[default]
    F16,
    /// IEEE single precision.
    F32,
    /// Blocks of 32: signed bytes, and the largest magnitude / 127 in f16 (GGUF's Q8_0).
    Q8_0,
    /// Blocks of 32: nibbles less 8, and the number of largest magnitude / -8 in f16 (GGUF's Q4_0).
    Q4_0,
}

impl KvType {
    /// Every type.
    pub const ALL: [KvType; 4] = [KvType::F16, KvType::F32, KvType::Q8_0, KvType::Q4_0];

    /// Those in which a number stands for itself, so that products can put it away at once. For the others [`super::Heads`] does.
    pub const PLAIN: [KvType; 2] = [KvType::F16, KvType::F32];

    /// It is one of [`Self::PLAIN`].
    pub fn is_plain(self) -> bool {
        Self::PLAIN.contains(&self)
    }

    /// `f16`, `f32`, `q8_0` or `q4_0`.
    pub fn name(self) -> &'static str {
        match self {
            KvType::F16 => "f16",
            KvType::F32 => "f32",
            KvType::Q8_0 => "q8_0",
            KvType::Q4_0 => "q4_0",
        }
    }

    /// The type called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kv_type| kv_type.name() == name)
    }

    /// Elements that are stored together: a head has a whole number of them.
    pub fn block(self) -> u32 {
        if self.is_plain() { 8 } else { 32 }
    }

    /// Bytes of the elements of one head at one position, without scales.
    fn code_bytes(self, head_dim: u32) -> u32 {
        match self {
            KvType::F32 => 4 * head_dim,
            KvType::F16 => 2 * head_dim,
            KvType::Q8_0 => head_dim,
            KvType::Q4_0 => head_dim / 2,
        }
    }

    /// Bytes of its scales, two a word.
    fn scale_bytes(self, head_dim: u32) -> u32 {
        if self.is_plain() { 0 } else { 4 * head_dim.div_ceil(64) }
    }

    /// Bytes of the keys of one layer, and as many again of its values.
    pub fn bytes(self, context: u32, kv_heads: u32, head_dim: u32) -> u64 {
        u64::from(self.code_bytes(head_dim) + self.scale_bytes(head_dim)) * u64::from(context) * u64::from(kv_heads)
    }

    /// Adds what a number's form is in a cache of `rows` rows, each a head at a position.
    pub(super) fn cache(self, source: Source, head_dim: u32, rows: u32) -> Source {
        let code = match self {
            KvType::F16 => return source.fragment(include_str!("../../shaders/lib/kv_f16.wgsl")),
            KvType::F32 => return source.fragment(include_str!("../../shaders/lib/kv_f32.wgsl")),
            KvType::Q8_0 => include_str!("../../shaders/lib/kv_q8_0.wgsl"),
            KvType::Q4_0 => include_str!("../../shaders/lib/kv_q4_0.wgsl"),
        };
        debug_assert!(head_dim.is_multiple_of(self.block()));
        let blocks = include_str!("../../shaders/lib/kv_blocks.wgsl");
        source.uint("SCALES", rows * self.code_bytes(head_dim) / 4).fragment(blocks).fragment(code)
    }

    /// As [`Self::cache`], for kernels that only read it; `half`: f16 as numbers, not as words to unpack.
    pub(super) fn read_only(self, source: Source, head_dim: u32, rows: u32, half: bool) -> Source {
        match self {
            KvType::F16 if half => source.f16().fragment(include_str!("../../shaders/lib/kv_half.wgsl")),
            _ => self.cache(source, head_dim, rows),
        }
    }

    /// Adds `key_unit` and `value_unit`, for keys and values bound by 8 elements.
    pub(super) fn read_units(self, source: Source) -> Source {
        source.fragment(match self.is_plain() {
            true => include_str!("../../shaders/lib/kv_read_units.wgsl"),
            false => include_str!("../../shaders/lib/kv_read_blocks.wgsl"),
        })
    }

    /// Adds `key_quad` and `value_quad`, for keys and values bound by 4 elements.
    pub(super) fn read_quads(self, source: Source) -> Source {
        source.fragment(match self.is_plain() {
            true => include_str!("../../shaders/lib/kv_read_quads.wgsl"),
            false => include_str!("../../shaders/lib/kv_read_blocks.wgsl"),
        })
    }

    /// Adds `place_head`, and for plain types `place`.
    pub(super) fn place(self, source: Source) -> Source {
        source.fragment(match self.is_plain() {
            true => include_str!("../../shaders/lib/place.wgsl"),
            false => include_str!("../../shaders/lib/place_blocks.wgsl"),
        })
    }
}
