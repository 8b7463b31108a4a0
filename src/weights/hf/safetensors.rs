//! The header of a safetensors file: its length (u64), then JSON that names every tensor with type, shape and place.

use super::{HfError, Stored};
use crate::weights::files::OpenError;
use crate::weights::source::Source;
use crate::weights::types::TensorType;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// Headers have about 150 bytes a tensor; the largest published models have less than 100,000 tensors.
const MAX_HEADER_BYTES: u64 = 32 << 20;
/// So much of a header is read at once: memory follows what really comes.
const STEP: u64 = 4 << 20;

/// One line of the header.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The header: names as often as they are there.
struct Header(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vec<(String, Entry)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Entries).map(Self)
    }
}

/// The tensors of the file that `source` gives, which is part number `part` of the model.
pub(super) async fn read(source: &mut impl Source, part: usize) -> Result<Vec<Stored>, OpenError> {
    let wrong = |file: &str, problem: String| HfError::Weights { file: file.to_owned(), problem };
    let first = source.read(0, 8).await?.to_vec();
    let length = first.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
    let file = source.name().to_owned();
    let end = source.len();
    if length > MAX_HEADER_BYTES || end.is_some_and(|end| length > end - 8) {
        let problem = format!("it is no safetensors file, or damaged: its header should be {length} bytes long");
        return Err(wrong(&file, problem).into());
    }
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let step = (length - bytes.len() as u64).min(STEP);
        bytes.extend(source.read(8 + bytes.len() as u64, step as usize).await?.to_vec());
    }
    parse(&file, &bytes, end, part).map_err(OpenError::from)
}

/// The tensors of a header's JSON.
pub(super) fn parse(file: &str, json: &[u8], file_len: Option<u64>, part: usize) -> Result<Vec<Stored>, HfError> {
    let Header(entries) = serde_json::from_slice(json)
        .map_err(|error| HfError::Json { file: format!("the header of {file}"), reason: error.to_string() })?;
    let data = 8 + json.len() as u64;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, Entry { dtype, shape, data_offsets: [begin, end] }) in entries {
        let wrong = |problem: String| HfError::Tensor { file: file.to_owned(), tensor: name.clone(), problem };
        let bytes = end.checked_sub(begin).ok_or_else(|| wrong(format!("it ends at {end}, before its begin at {begin}")))?;
        let place = data.checked_add(end).filter(|last| file_len.is_none_or(|len| *last <= len));
        if place.is_none() {
            return Err(wrong(format!(
                "it should end at byte {end} of the data, which the file has not: is the download complete?"
            )));
        }
        let kind = kind(&dtype);
        if let Some(size) = size_of(&dtype) {
            let wanted = shape.iter().try_fold(size, |product, size| product.checked_mul(*size));
            if wanted != Some(bytes) {
                return Err(wrong(format!("{shape:?} numbers of {dtype} do not take {bytes} bytes")));
            }
        }
        tensors.push(Stored { name, dtype, kind, shape, part, offset: data + begin, bytes });
    }
    Ok(tensors)
}

/// The types that weights can have.
pub(super) fn kind(dtype: &str) -> Option<TensorType> {
    Some(match dtype {
        "F32" => TensorType::F32,
        "F16" => TensorType::F16,
        "BF16" => TensorType::BF16,
        _ => return None,
    })
}

/// Bytes of one number.
pub(super) fn size_of(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F64" | "I64" | "U64" => 8,
        "F32" | "I32" | "U32" => 4,
        "F16" | "BF16" | "I16" | "U16" => 2,
        "I8" | "U8" | "BOOL" => 1,
        _ => return None,
    })
}
