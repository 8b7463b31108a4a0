//! Variants: products that compute the same in different ways, because GPUs differ in what is quick.

use super::format::Format;

/// How weights and inputs are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// In f32: exact but for rounding.
    #[default]
    F32,
    /// The same numbers, but bytes of weights are not shifted: for devices that shift vectors slowly.
    Unshifted,
    /// Inputs rounded to 8 bits, [`Format::int8_columns`] sharing a scale: `dot4I8Packed`. With formats without
    /// [codes](Format::has_int8) it is [`Arithmetic::F32`].
    Int8,
}

impl Arithmetic {
    /// What products with weights of a format use instead of it: f32, where the format has no codes of 8 bits.
    pub(super) fn with(self, format: Format) -> Self {
        if self == Self::Int8 && !format.has_int8() { Self::F32 } else { self }
    }
}

/// Inputs as [`Arithmetic::Int8`] rounds them, in f64: each block of `columns` to multiples of its largest magnitude / 127, ties to even.
pub fn int8_reference(x: &[f64], columns: usize) -> Vec<f64> {
    x.chunks_exact(columns)
        .flat_map(|block| {
            let scale = block.iter().fold(1e-30, |largest: f64, x| largest.max(x.abs())) / 127.0;
            block.iter().map(move |x| scale * (x / scale).round_ties_even())
        })
        .collect()
}

/// How a [`super::Matvec`] is spread over the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct MatvecVariant {
    /// Invocations of a workgroup, a power of two from 32 to 256.
    pub workgroup: u32,
    /// Times as many invocations share two quads of rows as their columns alone suggest, a power of two; 0 for as many as give a matrix of few
    /// rows enough workgroups.
    pub spread: u32,
    /// How it multiplies.
    pub arithmetic: Arithmetic,
}

impl Default for MatvecVariant {
    fn default() -> Self {
        Self { workgroup: 64, spread: 1, arithmetic: Arithmetic::F32 }
    }
}

/// Where a [`super::Matmul`], or attention of many rows, keeps what it uses again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tiling {
    /// In workgroup memory: a tile of weights and one of inputs; queries, keys and weights of values.
    #[default]
    Shared,
    /// In registers: weights with the invocation that owns their rows, while inputs pass from lane to lane of a subgroup; or queries, values and
    /// their weights, which pass so.
    Rows {
        /// Invocations that share inputs: 4, or 8 where no subgroup is smaller.
        lanes: u32,
    },
}

/// How a [`super::Matmul`] is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct MatmulVariant {
    /// Where weights and inputs are kept.
    pub tiling: Tiling,
    /// How it multiplies.
    pub arithmetic: Arithmetic,
    /// Most invocations of a subgroup, at most 64: with [`Tiling::Rows`] a workgroup is some whole subgroups.
    pub subgroup: u32,
    /// Quads of weight rows of an invocation with [`Tiling::Rows`]: 1, or 2, where registers are plenty.
    pub quads: u32,
}

impl Default for MatmulVariant {
    fn default() -> Self {
        Self { tiling: Tiling::Shared, arithmetic: Arithmetic::F32, subgroup: 64, quads: 1 }
    }
}

/// How attention is spread over the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct AttentionVariant {
    /// Of many rows: where what several invocations need is kept.
    pub tiling: Tiling,
    /// Of one row: as [`run`](field@super::Attention::run).
    pub run: u32,
}

impl Default for AttentionVariant {
    fn default() -> Self {
        Self { tiling: Tiling::Shared, run: 1 }
    }
}

/// How the products with one matrix are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Variants {
    /// With one row.
    pub matvec: MatvecVariant,
    /// With many.
    pub matmul: MatmulVariant,
}
