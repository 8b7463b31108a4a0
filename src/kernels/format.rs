//! Weight formats as the kernels read them.
//!
//! A matrix of `rows` × `columns` is stored in *quads* of 4 consecutive rows and *units* of 8 consecutive columns. Plane 0 holds the quants,
//! `[quad][unit]`, each `vec4` one word of each of the 4 rows; plane 1 holds what a block's rows share, `[quad][block]`.
//!
//! A weight is `scale * quant + offset`. Three fragments read it, and each serves all formats that agree in its part: how the quants' bits
//! lie (`shaders/quant/`), what number such bits stand for (`shaders/value/`), and where scale and offset come from (`shaders/scale/`).
//! All scales stay as exact as the file has them: f16 and integers, which the kernels multiply in f32, where their product still fits.
//!
//! Most formats take as many bytes as in the file. Bits a weight that differ, in the file and here: scales of six bits become bytes (Q3_K 3.44 and
//! 3.56, Q4_K 4.50 and 4.63, Q5_K 5.50 and 5.63, IQ4_XS 4.25 and 4.31), digits to the base of 3 pairs of bits (TQ1_0 1.69 and 2.06), and points of
//! a grid the numbers that they stand for, so that no kernel looks anything up (IQ1_S 1.56 and 2.31, IQ1_M 1.75 and 2.56, IQ2_XXS 2.06 and 3.31,
//! IQ2_XS 2.31 and 3.56, IQ2_S 2.56 and 3.56, IQ3_XXS 3.06 and 4.31, IQ3_S 3.44 and 4.31).

use super::source::Source;
use super::variant::Arithmetic;
use std::ops::Range;

/// How a matrix's weights are stored on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "GGUF's own names")]
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
    /// GGUF Q5_0.
    Q5_0,
    /// GGUF Q5_1.
    Q5_1,
    /// GGUF Q8_0.
    Q8_0,
    /// GGUF Q8_1.
    Q8_1,
    /// GGUF Q2_K.
    Q2_K,
    /// GGUF Q3_K.
    Q3_K,
    /// GGUF Q4_K.
    Q4_K,
    /// GGUF Q5_K.
    Q5_K,
    /// GGUF Q6_K.
    Q6_K,
    /// GGUF IQ2_XXS.
    IQ2_XXS,
    /// GGUF IQ2_XS.
    IQ2_XS,
    /// GGUF IQ2_S.
    IQ2_S,
    /// GGUF IQ3_XXS.
    IQ3_XXS,
    /// GGUF IQ3_S.
    IQ3_S,
    /// GGUF IQ1_S.
    IQ1_S,
    /// GGUF IQ1_M.
    IQ1_M,
    /// GGUF IQ4_NL.
    IQ4_NL,
    /// GGUF IQ4_XS.
    IQ4_XS,
    /// GGUF TQ1_0.
    TQ1_0,
    /// GGUF TQ2_0.
    TQ2_0,
    /// GGUF MXFP4.
    MXFP4,
    /// GGUF NVFP4.
    NVFP4,
    /// GGUF Q1_0.
    Q1_0,
    /// GGUF Q2_0.
    Q2_0,
}

/// Bytes of a matrix's two planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planes {
    /// Plane 0.
    pub quants: u64,
    /// Plane 1; 0 for formats without scales.
    pub scales: u64,
}

/// What there is to know of a format.
struct Layout {
    name: &'static str,
    /// Columns and bytes of a GGUF block.
    block: [u32; 2],
    /// Bits of a weight in plane 0: the low ones, and the high ones, which lie in words of their own behind those of their group.
    bits: [u32; 2],
    /// Columns that share a scale.
    scale_columns: u32,
    /// In plane 1, for each GGUF block of 4 rows: words that hold its f16 numbers, and words of one byte a row behind them.
    shared_words: [u32; 2],
    /// Of `shaders/scale/`: a constant factor on scales, and what is added to quants.
    factor: f32,
    offset: f32,
    /// Fragments that read it: the quants' bits, their values, the scales.
    read: [&'static str; 3],
    /// The fragment that reads its GGUF blocks, none for plain numbers.
    gguf: Option<&'static str>,
    /// The points of `GRIDS` that its codes are looked up in.
    grid: Range<usize>,
}

/// 16 bits a point; `tests/oracle/iq_grids.py` makes the file and describes it.
const GRIDS: &[u8] = include_bytes!("../../shaders/repack/grids.bin");

const ONES: &str = include_str!("../../shaders/quant/ones.wgsl");
const TWOS: &str = include_str!("../../shaders/quant/twos.wgsl");
const TWOS_1: &str = include_str!("../../shaders/quant/twos_1.wgsl");
const NIBBLES: &str = include_str!("../../shaders/quant/nibbles.wgsl");
const NIBBLES_1: &str = include_str!("../../shaders/quant/nibbles_1.wgsl");
const NIBBLES_2: &str = include_str!("../../shaders/quant/nibbles_2.wgsl");
const BYTES: &str = include_str!("../../shaders/quant/bytes.wgsl");
const UNSIGNED: &str = include_str!("../../shaders/value/unsigned.wgsl");
const SIGNED: &str = include_str!("../../shaders/value/signed.wgsl");
const IQ4: &str = include_str!("../../shaders/value/iq4.wgsl");
const IQ2: &str = include_str!("../../shaders/value/iq2.wgsl");
const IQ3: &str = include_str!("../../shaders/value/iq3.wgsl");
const E2M1: &str = include_str!("../../shaders/value/e2m1.wgsl");
const HALF: &str = include_str!("../../shaders/scale/half.wgsl");
const PAIR: &str = include_str!("../../shaders/scale/pair.wgsl");
const HALF_BYTES: &str = include_str!("../../shaders/scale/half_bytes.wgsl");
const PAIR_NIBBLES: &str = include_str!("../../shaders/scale/pair_nibbles.wgsl");
const PAIR_BYTES: &str = include_str!("../../shaders/scale/pair_bytes.wgsl");
const HALF_DELTA: &str = include_str!("../../shaders/scale/half_delta.wgsl");
const IQ1_M: &str = include_str!("../../shaders/scale/iq1_m.wgsl");
const IQ1_M_BITS: &str = include_str!("../../shaders/quant/iq1_m.wgsl");
const E8M0: &str = include_str!("../../shaders/scale/e8m0.wgsl");
const E4M3: &str = include_str!("../../shaders/scale/e4m3.wgsl");

/// Numbers of `bits` bits without scales.
const fn plain(name: &'static str, bits: u32, unit: &'static str) -> Layout {
    let read = [unit, "", include_str!("../../shaders/scale/none.wgsl")];
    Layout {
        name,
        block: [8, bits],
        bits: [bits, 0],
        scale_columns: 8,
        shared_words: [0, 0],
        factor: 1.0,
        offset: 0.0,
        read,
        gguf: None,
        grid: 0..0,
    }
}

macro_rules! gguf {
    ($file:literal) => {
        Some(include_str!(concat!("../../shaders/repack/", $file, ".wgsl")))
    };
}

/// One f16 scale for a whole GGUF block.
const HALVES: Layout = Layout {
    name: "",
    block: [32, 0],
    bits: [4, 0],
    scale_columns: 32,
    shared_words: [2, 0],
    factor: 1.0,
    offset: 0.0,
    read: [NIBBLES, UNSIGNED, HALF],
    gguf: None,
    grid: 0..0,
};

impl Format {
    /// Every format.
    pub const ALL: [Format; 29] = [
        Format::F32,
        Format::F16,
        Format::BF16,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::Q8_1,
        Format::Q2_K,
        Format::Q3_K,
        Format::Q4_K,
        Format::Q5_K,
        Format::Q6_K,
        Format::IQ2_XXS,
        Format::IQ2_XS,
        Format::IQ2_S,
        Format::IQ3_XXS,
        Format::IQ3_S,
        Format::IQ1_S,
        Format::IQ1_M,
        Format::IQ4_NL,
        Format::IQ4_XS,
        Format::TQ1_0,
        Format::TQ2_0,
        Format::MXFP4,
        Format::NVFP4,
        Format::Q1_0,
        Format::Q2_0,
    ];

    #[rustfmt::skip]
    const fn layout(self) -> Layout {
        let pairs = Layout { shared_words: [4, 0], read: [NIBBLES, UNSIGNED, PAIR], ..HALVES };
        let ternary = Layout { bits: [2, 0], scale_columns: 256, offset: -1.0, read: [TWOS, UNSIGNED, HALF], ..HALVES };
        let iq2 = Layout {
            bits: [2, 1], scale_columns: 16, shared_words: [2, 16], factor: 0.125, read: [TWOS_1, IQ2, HALF_BYTES], grid: 0..256, ..HALVES
        };
        match self {
            Format::F32 => plain("F32", 32, include_str!("../../shaders/quant/f32.wgsl")),
            Format::F16 => plain("F16", 16, include_str!("../../shaders/quant/f16.wgsl")),
            Format::BF16 => plain("BF16", 16, include_str!("../../shaders/quant/bf16.wgsl")),
            Format::Q4_0 => Layout { name: "Q4_0", block: [32, 18], offset: -8.0, gguf: gguf!("q4_0"), ..HALVES },
            Format::Q4_1 => Layout { name: "Q4_1", block: [32, 20], gguf: gguf!("q4_1"), ..pairs },
            Format::Q5_0 => Layout {
                name: "Q5_0", block: [32, 22], bits: [4, 1], offset: -16.0, read: [NIBBLES_1, UNSIGNED, HALF], gguf: gguf!("q5_0"), ..HALVES
            },
            Format::Q5_1 => Layout {
                name: "Q5_1", block: [32, 24], bits: [4, 1], read: [NIBBLES_1, UNSIGNED, PAIR], gguf: gguf!("q5_1"), ..pairs
            },
            Format::Q8_0 => Layout {
                name: "Q8_0", block: [32, 34], bits: [8, 0], read: [BYTES, SIGNED, HALF], gguf: gguf!("q8_0"), ..HALVES
            },
            Format::Q8_1 => Layout {
                name: "Q8_1", block: [32, 36], bits: [8, 0], read: [BYTES, SIGNED, HALF], gguf: gguf!("q8_1"), ..HALVES
            },
            Format::Q2_K => Layout {
                name: "Q2_K", block: [256, 84], bits: [2, 0], scale_columns: 16, shared_words: [4, 16],
                read: [TWOS, UNSIGNED, PAIR_NIBBLES], gguf: gguf!("q2_k"), ..HALVES
            },
            Format::Q3_K => Layout {
                name: "Q3_K", block: [256, 110], bits: [2, 1], scale_columns: 16, shared_words: [2, 16], offset: -4.0,
                read: [TWOS_1, UNSIGNED, HALF_BYTES], gguf: gguf!("q3_k"), ..HALVES
            },
            Format::Q4_K => Layout {
                name: "Q4_K", block: [256, 144], shared_words: [4, 16], read: [NIBBLES, UNSIGNED, PAIR_BYTES], gguf: gguf!("q4_k"), ..HALVES
            },
            Format::Q5_K => Layout {
                name: "Q5_K", block: [256, 176], bits: [4, 1], shared_words: [4, 16],
                read: [NIBBLES_1, UNSIGNED, PAIR_BYTES], gguf: gguf!("q5_k"), ..HALVES
            },
            Format::Q6_K => Layout {
                name: "Q6_K", block: [256, 210], bits: [4, 2], scale_columns: 16, shared_words: [2, 16], offset: -32.0,
                read: [NIBBLES_2, UNSIGNED, HALF_BYTES], gguf: gguf!("q6_k"), ..HALVES
            },
            Format::IQ2_XXS => Layout { name: "IQ2_XXS", block: [256, 66], scale_columns: 32, shared_words: [2, 8], gguf: gguf!("iq2_xxs"), ..iq2 },
            Format::IQ2_XS => Layout { name: "IQ2_XS", block: [256, 74], gguf: gguf!("iq2_xs"), grid: 256..768, ..iq2 },
            Format::IQ2_S => Layout { name: "IQ2_S", block: [256, 82], gguf: gguf!("iq2_s"), grid: 768..1792, ..iq2 },
            Format::IQ3_XXS => Layout {
                name: "IQ3_XXS", block: [256, 98], shared_words: [2, 8], factor: 0.25, offset: -62.0,
                read: [NIBBLES, IQ3, HALF_BYTES], gguf: gguf!("iq3_xxs"), grid: 3840..4096, ..HALVES
            },
            // All odd numbers from -15 to 15.
            Format::IQ3_S => Layout {
                name: "IQ3_S", block: [256, 110], shared_words: [2, 8], factor: 2.0, offset: -7.5,
                read: [NIBBLES, UNSIGNED, HALF_BYTES], gguf: gguf!("iq3_s"), grid: 4096..4608, ..HALVES
            },
            Format::IQ1_S => Layout {
                name: "IQ1_S", block: [256, 50], bits: [2, 0], shared_words: [2, 8],
                read: [TWOS, UNSIGNED, HALF_DELTA], gguf: gguf!("iq1_s"), grid: 1792..3840, ..HALVES
            },
            Format::IQ1_M => Layout {
                name: "IQ1_M", block: [256, 56], bits: [2, 0], scale_columns: 16, shared_words: [2, 16],
                read: [IQ1_M_BITS, UNSIGNED, IQ1_M], gguf: gguf!("iq1_m"), grid: 1792..3840, ..HALVES
            },
            Format::IQ4_NL => Layout { name: "IQ4_NL", block: [32, 18], read: [NIBBLES, IQ4, HALF], gguf: gguf!("iq4_nl"), ..HALVES },
            Format::IQ4_XS => Layout {
                name: "IQ4_XS", block: [256, 136], shared_words: [2, 8], read: [NIBBLES, IQ4, HALF_BYTES], gguf: gguf!("iq4_xs"), ..HALVES
            },
            Format::TQ1_0 => Layout { name: "TQ1_0", block: [256, 54], gguf: gguf!("tq1_0"), ..ternary },
            Format::TQ2_0 => Layout { name: "TQ2_0", block: [256, 66], gguf: gguf!("tq2_0"), ..ternary },
            Format::MXFP4 => Layout {
                name: "MXFP4", block: [32, 17], shared_words: [0, 1], read: [NIBBLES, E2M1, E8M0], gguf: gguf!("mxfp4"), ..HALVES
            },
            Format::NVFP4 => Layout {
                name: "NVFP4", block: [64, 36], scale_columns: 16, shared_words: [0, 4],
                read: [NIBBLES, E2M1, E4M3], gguf: gguf!("nvfp4"), ..HALVES
            },
            // Set bits are 1, unset ones -1.
            Format::Q1_0 => Layout {
                name: "Q1_0", block: [128, 18], bits: [1, 0], scale_columns: 128, factor: 2.0, offset: -0.5,
                read: [ONES, UNSIGNED, HALF], gguf: gguf!("q1_0"), ..HALVES
            },
            Format::Q2_0 => Layout { name: "Q2_0", block: [64, 18], scale_columns: 64, gguf: gguf!("q2_0"), ..ternary },
        }
    }

    /// GGUF's name of the type.
    pub fn name(self) -> &'static str {
        self.layout().name
    }

    /// Columns of a block in a GGUF file; a matrix's columns are a multiple of it.
    pub fn block_columns(self) -> u32 {
        self.layout().block[0]
    }

    /// Bytes of a block in a GGUF file.
    pub fn gguf_block_bytes(self) -> u32 {
        self.layout().block[1]
    }

    /// Columns that share a scale.
    pub(super) fn scale_columns(self) -> u32 {
        self.layout().scale_columns
    }

    /// Bytes of the planes of a matrix; rows are padded to a multiple of 4.
    pub fn planes(self, rows: u32, columns: u32) -> Planes {
        let layout = self.layout();
        let quads = u64::from(rows.div_ceil(4));
        let bits = u64::from(layout.bits[0] + layout.bits[1]);
        let blocks = u64::from(columns / layout.block[0]);
        let words = u64::from(layout.shared_words[0] + layout.shared_words[1]);
        Planes { quants: quads * u64::from(columns) * bits / 2, scales: quads * blocks * words * 4 }
    }

    /// Its weights are codes of 8 bits that integers can multiply: `weight = scale * code + offset` without a table. Their columns are a multiple
    /// of 32 in number.
    pub fn has_int8(self) -> bool {
        matches!(self.layout().read[1], UNSIGNED | SIGNED | IQ3)
    }

    /// Columns of inputs that share a scale when inputs are rounded to 8 bits: 32, and 16 where weights share one so.
    pub fn int8_columns(self) -> u32 {
        self.scale_columns().min(32)
    }

    /// Adds the fragments that read this format.
    pub(super) fn read(self, source: Source) -> Source {
        self.read_for(Arithmetic::F32, source)
    }

    /// Adds the fragments that read this format as numbers, or for [`Arithmetic::Int8`] as codes.
    pub(super) fn read_for(self, arithmetic: Arithmetic, source: Source) -> Source {
        let layout = self.layout();
        let columns = match arithmetic {
            Arithmetic::F32 => include_str!("../../shaders/lib/columns.wgsl"),
            Arithmetic::Unshifted => include_str!("../../shaders/lib/columns_unshifted.wgsl"),
            Arithmetic::Int8 => include_str!("../../shaders/lib/columns_codes.wgsl"),
        };
        let source = source
            .uint("BITS", layout.bits[0] + layout.bits[1])
            .uint("UNITS_PER_BLOCK", layout.scale_columns / 8)
            .float("FACTOR", layout.factor)
            .float("OFFSET", layout.offset)
            .fragment(columns)
            .fragment(include_str!("../../shaders/lib/unit.wgsl"));
        let [bits, values, scales] = layout.read;
        // The bytes of a code are its columns, with a sign or without.
        let values = if arithmetic == Arithmetic::Int8 && values == SIGNED { UNSIGNED } else { values };
        source.fragment(values).fragment(bits).fragment(scales)
    }

    /// The points that its codes stand for, two a word, for the kernel that repacks it.
    pub(super) fn points(self) -> impl Iterator<Item = u32> {
        let Range { start, end } = self.layout().grid;
        GRIDS[2 * start..2 * end].as_chunks().0.iter().map(|two| u32::from_le_bytes(*two))
    }

    /// What a weight's code in the format `narrow` becomes one in this format by, where every weight keeps exactly its number: both formats have
    /// the same scales, and this one room for the codes. `None` where that is not so.
    ///
    /// Q4_0 fits Q5_0 and both fit Q8_0; Q4_1 fits Q5_1, Q4_K fits Q5_K, Q3_K fits Q6_K; and some are the same here, as TQ1_0 and TQ2_0.
    pub fn holds(self, narrow: Format) -> Option<i32> {
        if self == narrow {
            return Some(0);
        }
        let (from, to) = (narrow.layout(), self.layout());
        let shared = |layout: &Layout| (layout.block[0], layout.scale_columns, layout.shared_words, layout.factor, layout.read[2]);
        if from.gguf.is_none() || to.gguf.is_none() || shared(&from) != shared(&to) {
            return None;
        }
        // The numbers that codes stand for are all integers of so many bits, or others.
        let codes = |layout: &Layout| match layout.read[1] {
            UNSIGNED => Some(0..1 << (layout.bits[0] + layout.bits[1])),
            SIGNED => Some(-128..128),
            _ => None,
        };
        let shift = from.offset - to.offset;
        match (codes(&from), codes(&to)) {
            (Some(from), Some(to)) if shift.fract() == 0.0 => {
                let shift = shift as i32;
                (from.start + shift >= to.start && from.end + shift <= to.end).then_some(shift)
            }
            (None, None) => (from.read[1] == to.read[1] && from.bits == to.bits && shift == 0.0).then_some(0),
            _ => None,
        }
    }

    /// The kernel that repacks GGUF blocks of `from`, which this format holds, with its constants and fragments.
    pub(super) fn repack(self, from: Format, source: Source) -> (Source, &'static str) {
        let (layout, stored) = (self.layout(), from.layout());
        let Some(gguf) = stored.gguf else {
            return (source.uint("WORDS_PER_UNIT", layout.bits[0] / 4), include_str!("../../shaders/repack/plain.wgsl"));
        };
        debug_assert!(self.holds(from).is_some(), "{self:?} cannot hold {from:?}");
        let [low, high] = layout.bits;
        let source = source
            .uint("BLOCK_COLUMNS", layout.block[0])
            .uint("BLOCK_BYTES", stored.block[1])
            .uint("SHIFT", self.holds(from).unwrap_or(0).cast_unsigned())
            .uint("LOW_BITS", low)
            .uint("HIGH_BITS", high)
            .uint("GROUP_COLUMNS", 32 / if high > 0 { high } else { low })
            .uint("HEAD_WORDS", layout.shared_words[0])
            .uint("SUBS", layout.shared_words[1])
            .fragment(gguf);
        (source, include_str!("../../shaders/repack/blocks.wgsl"))
    }
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn what_holds_what() {
        let mut pairs: Vec<_> = Format::ALL
            .into_iter()
            .flat_map(|narrow| Format::ALL.map(|wide| (narrow, wide)))
            .filter(|(narrow, wide)| narrow != wide)
            .filter_map(|(narrow, wide)| wide.holds(narrow).map(|shift| (narrow.name(), wide.name(), shift)))
            .collect();
        pairs.sort_unstable();
        let expected = [
            ("IQ2_S", "IQ2_XS", 0),
            ("IQ2_XS", "IQ2_S", 0),
            ("Q3_K", "Q6_K", 28),
            ("Q4_0", "Q5_0", 8),
            ("Q4_0", "Q8_0", -8),
            ("Q4_0", "Q8_1", -8),
            ("Q4_1", "Q5_1", 0),
            ("Q4_K", "Q5_K", 0),
            ("Q5_0", "Q8_0", -16),
            ("Q5_0", "Q8_1", -16),
            ("Q8_0", "Q8_1", 0),
            ("Q8_1", "Q8_0", 0),
            ("TQ1_0", "TQ2_0", 0),
            ("TQ2_0", "TQ1_0", 0),
        ];
        assert_eq!(pairs, expected);
    }

    /// As the head of this file says.
    #[test]
    fn bits_a_weight() {
        let bits = |format: Format| {
            let planes = format.planes(4, 1024);
            (planes.quants + planes.scales) as f64 * 8.0 / 4096.0
        };
        let stored = |format: Format| f64::from(format.gguf_block_bytes() * 8) / f64::from(format.block_columns());
        for format in Format::ALL {
            let more = match format {
                Format::Q3_K | Format::Q4_K | Format::Q5_K => 0.125,
                Format::IQ4_XS => 0.0625,
                Format::TQ1_0 => 0.375,
                Format::IQ1_S => 0.75,
                Format::IQ1_M => 0.8125,
                Format::IQ2_S => 1.0,
                Format::IQ2_XXS | Format::IQ2_XS | Format::IQ3_XXS => 1.25,
                Format::IQ3_S => 0.875,
                // The sum that only dot products of quants need.
                Format::Q8_1 => -0.5,
                _ => 0.0,
            };
            assert_eq!(bits(format) - stored(format), more, "{}", format.name());
        }
    }
}
