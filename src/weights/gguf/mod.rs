//! GGUF, versions 2 and 3: metadata, tensor table, and where the tensors' bytes are (ggml, docs/gguf.md).
//!
//! The reader works on a prefix of the file, so that a model can begin to load before all of it is there: it reads
//! the whole header or says how long a prefix it wants next. The tensors' data need not be in the prefix.

mod error;
mod metadata;
mod parse;
mod reader;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "../../../tests/common/ggufwriter.rs"]
pub(crate) mod tests_support;

pub use super::types::TensorType;
pub use error::{GgufError, Place};
pub use metadata::{Array, Metadata, Value};

use std::collections::BTreeMap;

/// No header is larger; a file that asks for more is damaged. (A vocabulary of 256 Ki tokens takes about 10 MiB.)
pub const MAX_HEADER_BYTES: u64 = 256 << 20;

/// How many bytes to read before the first [`Gguf::parse`]; it may also be called with fewer.
pub const FIRST_PREFIX_BYTES: u64 = 256 << 10;

/// The header of a GGUF file: everything but the tensors' data.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    /// 2 or 3.
    pub version: u32,
    /// The metadata in the file's order.
    pub metadata: Metadata,
    /// The tensor table in the file's order.
    pub tensors: Vec<TensorInfo>,
    /// `general.alignment`, in bytes.
    pub alignment: u64,
    /// Where the tensors' data begins, in bytes from the start of the file.
    pub data_offset: u64,
}

/// What [`Gguf::parse`] made of a prefix.
#[derive(Debug, Clone, PartialEq)]
pub enum Parse {
    /// The whole header was in the prefix.
    Done(Gguf),
    /// Call again with at least this many bytes from the start of the file. Always more than were given, never past
    /// the end of the file, and growing in proportion to what was given, so that repeated parsing stays linear.
    NeedMore {
        /// Length of the next prefix in bytes.
        at_least: u64,
    },
}

/// One tensor of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, such as `blk.0.attn_q.weight`; unique in the file.
    pub name: String,
    /// Sizes in GGUF's order: `dims[0]` is contiguous. One to four, none is 0.
    pub dims: Vec<u64>,
    /// How the numbers are stored.
    pub kind: TensorType,
    /// Where the data begins, in bytes from the start of the file.
    pub offset: u64,
    /// Length of the data in bytes.
    pub bytes: u64,
}

impl TensorInfo {
    /// Numbers in a row: `dims[0]`, a whole number of blocks.
    #[must_use]
    pub fn columns(&self) -> u64 {
        self.dims.first().copied().unwrap_or(1)
    }

    /// Number of rows: the product of all sizes but the first.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.dims.iter().skip(1).copied().fold(1, u64::saturating_mul)
    }

    /// Numbers in all: the product of all sizes.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.columns().saturating_mul(self.rows())
    }

    /// Bytes of one row.
    #[must_use]
    pub fn row_bytes(&self) -> u64 {
        self.bytes / self.rows().max(1)
    }
}

impl Gguf {
    /// Reads a header from the first bytes of a file. `file_len` is the whole file's length where it is known: with
    /// it, counts and lengths that the file cannot hold are found at once, and tensors past its end too.
    ///
    /// Memory use is proportional to `prefix`, whatever the file claims.
    ///
    /// # Errors
    /// [`GgufError`] says what is wrong, for which key or tensor, and at which offset.
    pub fn parse(prefix: &[u8], file_len: Option<u64>) -> Result<Parse, GgufError> {
        parse::parse(prefix, file_len)
    }

    /// Number of weights in all tensors.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(TensorInfo::elements).fold(0, u64::saturating_add)
    }

    /// The type that most weights are stored as; `None` for a file without tensors.
    #[must_use]
    pub fn quantization(&self) -> Option<TensorType> {
        let mut sums = BTreeMap::<TensorType, u64>::new();
        for tensor in &self.tensors {
            let sum = sums.entry(tensor.kind).or_default();
            *sum = sum.saturating_add(tensor.elements());
        }
        sums.into_iter().max_by_key(|(_, weights)| *weights).map(|(kind, _)| kind)
    }

    /// The tensor with this name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

/// Positions of `items` sorted by name, or the positions of two with the same name (the earlier first).
fn sorted_positions<T>(items: &[T], name: impl Fn(&T) -> &String) -> Result<Vec<u32>, (usize, usize)> {
    let mut order: Vec<u32> = (0..items.len()).map(|position| position as u32).collect();
    order.sort_unstable_by(|&a, &b| name(&items[a as usize]).cmp(name(&items[b as usize])).then(a.cmp(&b)));
    for pair in order.windows(2) {
        let (first, again) = (pair[0] as usize, pair[1] as usize);
        if name(&items[first]) == name(&items[again]) {
            return Err((first, again));
        }
    }
    Ok(order)
}
