//! `pytorch_model.bin`: a zip archive with a pickled state_dict (`data.pkl`) and a file of numbers for each storage.

use super::safetensors::{kind, size_of};
use super::zip::{Entry, entries};
use super::{HfError, Stored, pickle};
use crate::weights::files::OpenError;
use crate::weights::source::Source;
use std::collections::HashMap;

/// The tensors of the file that `source` gives, which is part number `part` of the model.
pub(super) async fn read(source: &mut impl Source, part: usize) -> Result<Vec<Stored>, OpenError> {
    let file = source.name().to_owned();
    let wrong = |problem: String| HfError::Pickle { file: file.clone(), problem };
    let entries = entries(source).await?;
    let program = entries.iter().find(|entry| entry.name.ends_with("/data.pkl"));
    let program = program.ok_or_else(|| wrong("there is no data.pkl in it, so torch.save has not written it".into()))?;
    let folder = program.name.trim_end_matches("data.pkl");
    let byteorder = format!("{folder}byteorder");
    if let Some(entry) = entries.iter().find(|entry| entry.name == byteorder)
        && whole(source, entry, 16).await?.is_none_or(|order| order != b"little")
    {
        return Err(wrong("its numbers are big-endian".into()).into());
    }
    let bytes = whole(source, program, pickle::MAX_BYTES).await?;
    let bytes = bytes.ok_or_else(|| wrong(format!("its data.pkl is {} bytes long", program.bytes)))?;
    let tensors = pickle::state_dict(&bytes).map_err(wrong)?;

    let by_name: HashMap<&str, &Entry> = entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
    let mut places = HashMap::<String, u64>::new();
    let mut stored = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let wrong = |problem: String| HfError::Tensor { file: file.clone(), tensor: name.clone(), problem };
        let size = size_of(tensor.dtype).unwrap_or(1);
        let key = format!("{folder}data/{}", tensor.storage);
        let entry = by_name.get(key.as_str()).ok_or_else(|| wrong(format!("its numbers ({key}) are missing")))?;
        if tensor.storage_numbers.checked_mul(size) != Some(entry.bytes) {
            let problem =
                format!("its storage should have {} numbers, but {key} has {} bytes", tensor.storage_numbers, entry.bytes);
            return Err(wrong(problem).into());
        }
        let place = match places.get(&tensor.storage) {
            Some(place) => *place,
            None => {
                let place = entry.offset(source).await?;
                places.insert(tensor.storage.clone(), place);
                place
            }
        };
        // It fits its storage, whose bytes are in the file.
        let bytes = size * tensor.shape.iter().product::<u64>();
        stored.push(Stored {
            name,
            dtype: tensor.dtype.to_owned(),
            kind: kind(tensor.dtype),
            shape: tensor.shape,
            part,
            offset: place + size * tensor.offset,
            bytes,
        });
    }
    Ok(stored)
}

/// A file in the archive, unless it is longer than `limit`.
async fn whole(source: &mut impl Source, entry: &Entry, limit: u64) -> Result<Option<Vec<u8>>, OpenError> {
    if entry.bytes > limit {
        return Ok(None);
    }
    let offset = entry.offset(source).await?;
    Ok(Some(source.read(offset, entry.bytes as usize).await?.to_vec()))
}
