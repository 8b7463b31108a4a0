//! Variants: products that compute the same in different ways, because GPUs differ in what is quick.

/// How weights and inputs are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// In f32: exact but for rounding.
    #[default]
    F32,
    /// Inputs rounded to 8 bits, the columns that share a scale of the weights sharing one: `dot4I8Packed`.
    Int8,
}

/// How a [`super::Matvec`] is spread over the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct MatvecVariant {
    /// Invocations of a workgroup, a power of two from 32 to 256.
    pub workgroup: u32,
    /// Times as many invocations share two quads of rows as their columns alone suggest: 1, 2 or 4.
    pub spread: u32,
    /// How it multiplies.
    pub arithmetic: Arithmetic,
}

impl Default for MatvecVariant {
    fn default() -> Self {
        Self { workgroup: 64, spread: 1, arithmetic: Arithmetic::F32 }
    }
}

/// Where a [`super::Matmul`] keeps what it uses again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tiling {
    /// A tile of weights and one of inputs in workgroup memory.
    #[default]
    Shared,
    /// Weights in the registers of the invocation that owns their rows; inputs pass from lane to lane of a subgroup.
    Rows {
        /// Invocations that share inputs: 4, or 8 where no subgroup is smaller.
        lanes: u32,
    },
}

/// How a [`super::Matmul`] is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct MatmulVariant {
    /// Where weights and inputs are kept.
    pub tiling: Tiling,
    /// How it multiplies.
    pub arithmetic: Arithmetic,
}
