//! What can be wrong with a GGUF file.

use std::fmt;

/// The part of the file that an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The magic, the version and the two counts.
    Header,
    /// The metadata entry with this number (from 0), whose key is not known yet.
    Entry(u64),
    /// The value of this metadata key.
    Key(String),
    /// The tensor table's entry with this number (from 0), whose name is not known yet.
    TensorEntry(u64),
    /// The tensor with this name.
    Tensor(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header"),
            Self::Entry(number) => write!(f, "metadata entry {number}"),
            Self::Key(key) => write!(f, "metadata key {}", Name(key)),
            Self::TensorEntry(number) => write!(f, "tensor table entry {number}"),
            Self::Tensor(name) => write!(f, "tensor {}", Name(name)),
        }
    }
}

/// A name from the file, quoted and escaped; a long one is cut, because it can be 64 KiB of anything.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 96;
        write!(f, "`")?;
        for character in self.0.chars().take(SHOWN) {
            write!(f, "{}", character.escape_debug())?;
        }
        let cut = self.0.chars().nth(SHOWN).is_some();
        write!(f, "{}`", if cut { "…" } else { "" })
    }
}

/// Why a file is not a GGUF file that can be used. Offsets are bytes from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each field is named in its message")]
pub enum GgufError {
    #[error(
        "not a GGUF file: it begins with `{}` where `GGUF` belongs (an error page or another format?)",
        found.escape_ascii()
    )]
    NotGguf { found: Vec<u8> },

    #[error("this GGUF file is big-endian; convert it with gguf_convert_endian.py from llama.cpp and load the result")]
    BigEndian,

    #[error(
        "GGUF version {version} (bytes 4 to 7) is not supported, only 2 and 3 are; convert the model again with a current llama.cpp"
    )]
    UnsupportedVersion { version: u32 },

    #[error("the file is truncated or damaged: {place} needs {needed} bytes at offset {offset}, but the file ends at {file_len}")]
    Truncated { place: Place, offset: u64, needed: u64, file_len: u64 },

    #[error(
        "{place} asks for {needed} bytes at offset {offset}, more than any sane GGUF header has ({limit}); the file is damaged"
    )]
    HeaderTooLarge { place: Place, offset: u64, needed: u64, limit: u64 },

    #[error("{place} at offset {offset} has an empty name")]
    EmptyName { place: Place, offset: u64 },

    #[error("{place} at offset {offset} has a name of {length} bytes; at most {limit} are allowed")]
    NameTooLong { place: Place, offset: u64, length: u64, limit: u64 },

    #[error("{place} at offset {offset} holds a string that is not UTF-8")]
    NotUtf8 { place: Place, offset: u64 },

    #[error("metadata key {} at offset {offset} was already given at {first}", Name(key))]
    DuplicateKey { key: String, offset: u64, first: u64 },

    #[error("tensor {} at offset {offset} was already given at {first}", Name(name))]
    DuplicateTensor { name: String, offset: u64, first: u64 },

    #[error("metadata key {} at offset {offset} has the unknown value type {id}", Name(key))]
    UnknownValueType { key: String, offset: u64, id: u32 },

    #[error("metadata key {} at offset {offset} holds {value} where a bool (0 or 1) belongs", Name(key))]
    InvalidBool { key: String, offset: u64, value: u8 },

    #[error("metadata key {} at offset {offset} nests arrays more than {limit} deep", Name(key))]
    NestedTooDeep { key: String, offset: u64, limit: u32 },

    #[error("metadata key {} is of type {found}, but {expected} is needed", Name(key))]
    WrongType { key: String, expected: &'static str, found: &'static str },

    #[error("metadata key {} holds {value}, which does not fit {expected}", Name(key))]
    OutOfRange { key: String, value: i128, expected: &'static str },

    #[error("`general.alignment` at offset {offset} is {value}; it must be a power of two or a multiple of 8")]
    BadAlignment { offset: u64, value: u64 },

    #[error("tensor {} at offset {offset} has {dimensions} dimensions; at most 4 are allowed", Name(tensor))]
    TooManyDimensions { tensor: String, offset: u64, dimensions: u32 },

    #[error("tensor {} at offset {offset}: dimension {dimension} is 0", Name(tensor))]
    ZeroDimension { tensor: String, offset: u64, dimension: u32 },

    #[error("tensor {} at offset {offset} has dimensions {dims:?} or a place that no file can hold", Name(tensor))]
    SizeOverflow { tensor: String, offset: u64, dims: Vec<u64> },

    #[error(
        "tensor {} at offset {offset} has {} {id}",
        Name(tensor),
        unknown_type(*id)
    )]
    UnknownTensorType { tensor: String, offset: u64, id: u32 },

    #[error(
        "tensor {} at offset {offset} has rows of {columns} numbers, not a multiple of the {block} that a block of {kind} holds",
        Name(tensor)
    )]
    RowNotWholeBlocks { tensor: String, offset: u64, kind: &'static str, columns: u64, block: u64 },

    #[error(
        "tensor {} at offset {offset}: its data's place {relative} is not a multiple of the alignment {alignment}",
        Name(tensor)
    )]
    MisalignedTensor { tensor: String, offset: u64, relative: u64, alignment: u64 },

    #[error(
        "tensor {} should take {bytes} bytes at offset {start}, but the file ends at {file_len}: is the download complete?",
        Name(tensor)
    )]
    TensorPastEnd { tensor: String, start: u64, bytes: u64, file_len: u64 },

    #[error("tensor {} begins at offset {start}, inside tensor {}, which ends at {other_end}", Name(tensor), Name(other))]
    OverlappingTensors { tensor: String, start: u64, other: String, other_end: u64 },
}

fn unknown_type(id: u32) -> String {
    match super::TensorType::removed_name(id) {
        Some(name) => format!("the type {name}, which ggml removed (requantize the model), id"),
        None => "the unknown type id".to_owned(),
    }
}
