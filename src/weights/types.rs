//! The tensor types that a GGUF file can name, with the size of their blocks (`ggml_type` in ggml.h).

macro_rules! tensor_types {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $elements:literal, $bytes:literal;)*) => {
        /// How the numbers of one tensor are stored: every type id that ggml gives out today.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types, reason = "the field's own names")]
        pub enum TensorType {
            $($(#[$doc])* $name,)*
        }

        impl TensorType {
            /// Every type, by rising id.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The type with this id in a file's tensor table; `None` for ids that ggml never gave out or took back.
            #[must_use]
            pub const fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The id in a file's tensor table.
            #[must_use]
            pub const fn id(self) -> u32 {
                match self {
                    $(Self::$name => $id,)*
                }
            }

            /// The name as ggml writes it, such as `Q4_1`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// How many numbers one block holds (1 for plain types). A row is a whole number of blocks.
            #[must_use]
            pub const fn block_elements(self) -> u64 {
                match self {
                    $(Self::$name => $elements,)*
                }
            }

            /// How many bytes one block takes.
            #[must_use]
            pub const fn block_bytes(self) -> u64 {
                match self {
                    $(Self::$name => $bytes,)*
                }
            }
        }
    };
}

tensor_types! {
    /// IEEE 754 binary32.
    F32 = 0, 1, 4;
    /// IEEE 754 binary16.
    F16 = 1, 1, 2;
    /// f16 scale, 32 nibbles minus 8.
    Q4_0 = 2, 32, 18;
    /// f16 scale and minimum, 32 nibbles.
    Q4_1 = 3, 32, 20;
    /// f16 scale, 32 fifth bits, 32 nibbles, minus 16.
    Q5_0 = 6, 32, 22;
    /// f16 scale and minimum, 32 fifth bits, 32 nibbles.
    Q5_1 = 7, 32, 24;
    /// f16 scale, 32 signed bytes.
    Q8_0 = 8, 32, 34;
    /// f16 scale and scaled sum, 32 signed bytes (activations).
    Q8_1 = 9, 32, 36;
    /// 2-bit K-quant with 4-bit scales and minimums.
    Q2_K = 10, 256, 84;
    /// 3-bit K-quant with 6-bit scales.
    Q3_K = 11, 256, 110;
    /// 4-bit K-quant with 6-bit scales and minimums.
    Q4_K = 12, 256, 144;
    /// 5-bit K-quant with 6-bit scales and minimums.
    Q5_K = 13, 256, 176;
    /// 6-bit K-quant with 8-bit scales.
    Q6_K = 14, 256, 210;
    /// 8-bit K-quant (activations).
    Q8_K = 15, 256, 292;
    /// 2.06 bits: grid of 8 with sign masks.
    IQ2_XXS = 16, 256, 66;
    /// 2.31 bits.
    IQ2_XS = 17, 256, 74;
    /// 3.06 bits.
    IQ3_XXS = 18, 256, 98;
    /// 1.56 bits.
    IQ1_S = 19, 256, 50;
    /// 4-bit with a table of 16 uneven steps, blocks of 32.
    IQ4_NL = 20, 32, 18;
    /// 3.44 bits.
    IQ3_S = 21, 256, 110;
    /// 2.56 bits.
    IQ2_S = 22, 256, 82;
    /// 4-bit with the table of `IQ4_NL` and 6-bit scales.
    IQ4_XS = 23, 256, 136;
    /// Signed byte.
    I8 = 24, 1, 1;
    /// Signed 16-bit integer.
    I16 = 25, 1, 2;
    /// Signed 32-bit integer.
    I32 = 26, 1, 4;
    /// Signed 64-bit integer.
    I64 = 27, 1, 8;
    /// IEEE 754 binary64.
    F64 = 28, 1, 8;
    /// 1.75 bits.
    IQ1_M = 29, 256, 56;
    /// The upper half of a binary32.
    BF16 = 30, 1, 2;
    /// Ternary, 1.69 bits.
    TQ1_0 = 34, 256, 54;
    /// Ternary, 2.06 bits.
    TQ2_0 = 35, 256, 66;
    /// E2M1 nibbles with one E8M0 exponent per 32.
    MXFP4 = 39, 32, 17;
    /// E2M1 nibbles with one E4M3 scale per 16.
    NVFP4 = 40, 64, 36;
    /// Signs with one f16 scale per 128.
    Q1_0 = 41, 128, 18;
    /// 2-bit with one f16 scale per 64.
    Q2_0 = 42, 64, 18;
}

impl TensorType {
    /// The name of a type that ggml gave out once and took back, so that an error can say so.
    #[must_use]
    pub const fn removed_name(id: u32) -> Option<&'static str> {
        Some(match id {
            4 => "Q4_2",
            5 => "Q4_3",
            31 => "Q4_0_4_4",
            32 => "Q4_0_4_8",
            33 => "Q4_0_8_8",
            36 => "IQ4_NL_4_4",
            37 => "IQ4_NL_4_8",
            38 => "IQ4_NL_8_8",
            _ => return None,
        })
    }

    /// Bytes of one row of `columns` numbers; `None` where the row is not a whole number of blocks or overflows.
    #[must_use]
    pub const fn row_bytes(self, columns: u64) -> Option<u64> {
        if !columns.is_multiple_of(self.block_elements()) {
            return None;
        }
        (columns / self.block_elements()).checked_mul(self.block_bytes())
    }
}

impl std::fmt::Display for TensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::TensorType;

    #[test]
    fn ids_round_trip_and_gaps_are_none() {
        for &kind in TensorType::ALL {
            assert_eq!(TensorType::from_id(kind.id()), Some(kind));
            assert!(kind.block_bytes() > 0 && kind.block_elements() > 0);
            assert_eq!(TensorType::removed_name(kind.id()), None);
        }
        for id in [4, 5, 31, 32, 33, 36, 37, 38, 43, 1000, u32::MAX] {
            assert_eq!(TensorType::from_id(id), None);
        }
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(TensorType::Q4_1.row_bytes(576), Some(360));
        assert_eq!(TensorType::Q4_K.row_bytes(576), None);
        assert_eq!(TensorType::F32.row_bytes(u64::MAX), None);
        assert_eq!(TensorType::Q8_0.row_bytes(0), Some(0));
    }
}
