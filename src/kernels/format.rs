//! Weight formats as the kernels read them.
//!
//! A matrix of `rows` × `columns` is stored in *quads* of 4 consecutive rows and *units* of 8 consecutive columns. Plane 0 holds the quants,
//! `[quad][unit]`, each `vec4` one word of each of the 4 rows; plane 1 holds what a block's rows share, `[quad][block]`.

use super::source::Source;

/// How a matrix's weights are stored on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an F32.
    BF16,
    /// GGUF Q4_0.
    Q4_0,
    /// GGUF Q4_1.
    Q4_1,
    /// GGUF Q8_0.
    Q8_0,
}

/// Bytes of a matrix's two planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planes {
    /// Plane 0.
    pub quants: u64,
    /// Plane 1; 0 for formats without scales.
    pub scales: u64,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 6] = [Format::F32, Format::F16, Format::BF16, Format::Q4_0, Format::Q4_1, Format::Q8_0];

    /// GGUF's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Format::F32 => "F32",
            Format::F16 => "F16",
            Format::BF16 => "BF16",
            Format::Q4_0 => "Q4_0",
            Format::Q4_1 => "Q4_1",
            Format::Q8_0 => "Q8_0",
        }
    }

    /// Columns that share a scale; a matrix's columns are a multiple of it.
    pub fn block_columns(self) -> u32 {
        match self {
            Format::F32 | Format::F16 | Format::BF16 => 8,
            Format::Q4_0 | Format::Q4_1 | Format::Q8_0 => 32,
        }
    }

    /// Bytes of a block in a GGUF file.
    pub fn gguf_block_bytes(self) -> u32 {
        match self {
            Format::F32 => 32,
            Format::F16 | Format::BF16 => 16,
            Format::Q4_0 => 18,
            Format::Q4_1 => 20,
            Format::Q8_0 => 34,
        }
    }

    /// Bytes of one unit of one row in plane 0.
    fn unit_bytes(self) -> u64 {
        match self {
            Format::F32 => 32,
            Format::F16 | Format::BF16 => 16,
            Format::Q4_0 | Format::Q4_1 => 4,
            Format::Q8_0 => 8,
        }
    }

    /// Bytes of one block of one row in plane 1.
    fn scale_bytes(self) -> u64 {
        match self {
            Format::F32 | Format::F16 | Format::BF16 => 0,
            Format::Q4_0 | Format::Q8_0 => 2,
            Format::Q4_1 => 4,
        }
    }

    /// Bytes of the planes of a matrix; rows are padded to a multiple of 4.
    pub fn planes(self, rows: u32, columns: u32) -> Planes {
        let rows = u64::from(rows.next_multiple_of(4));
        let units = u64::from(columns / 8);
        let blocks = u64::from(columns / self.block_columns());
        Planes { quants: rows * units * self.unit_bytes(), scales: rows * blocks * self.scale_bytes() }
    }

    /// Words of one unit of one row, for formats that are plain numbers.
    pub(super) fn words_per_unit(self) -> u32 {
        (self.unit_bytes() / 4) as u32
    }

    /// Adds the fragments that read this format.
    pub(super) fn read(self, source: Source) -> Source {
        source.fragment(include_str!("../../shaders/lib/unit.wgsl")).fragment(match self {
            Format::F32 => include_str!("../../shaders/quant/f32.wgsl"),
            Format::F16 => include_str!("../../shaders/quant/f16.wgsl"),
            Format::BF16 => include_str!("../../shaders/quant/bf16.wgsl"),
            Format::Q4_0 => include_str!("../../shaders/quant/q4_0.wgsl"),
            Format::Q4_1 => include_str!("../../shaders/quant/q4_1.wgsl"),
            Format::Q8_0 => include_str!("../../shaders/quant/q8_0.wgsl"),
        })
    }
}
