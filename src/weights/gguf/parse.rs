//! From bytes to [`Gguf`].

use super::reader::{At, Reader, Stop};
use super::{Array, FIRST_PREFIX_BYTES, Gguf, GgufError, MAX_HEADER_BYTES, Metadata, Parse, TensorInfo, TensorType, Value};

const MAGIC: &[u8; 4] = b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
/// docs/gguf.md: a key has at most 2^16 - 1 bytes, a tensor's name at most 64.
const MAX_KEY_BYTES: u64 = 65_535;
const MAX_TENSOR_NAME_BYTES: u64 = 64;
const MAX_DIMENSIONS: u32 = 4;
/// The format sets no limit, but recursion needs one; nobody is known to nest more than twice.
const MAX_NESTING: u32 = 8;
/// Key (length and one byte), type, and a value of one byte.
const SMALLEST_ENTRY: u64 = 8 + 1 + 4 + 1;
/// Name (length and one byte), number of dimensions, type, offset.
const SMALLEST_TENSOR: u64 = 8 + 1 + 4 + 4 + 8;

pub(super) fn parse(prefix: &[u8], file_len: Option<u64>) -> Result<Parse, GgufError> {
    // What lies past the stated end is not part of the file.
    let prefix = match file_len.map(usize::try_from) {
        Some(Ok(length)) if length < prefix.len() => &prefix[..length],
        _ => prefix,
    };
    match header(prefix, file_len) {
        Ok(gguf) => Ok(Parse::Done(gguf)),
        Err(Stop::Wrong(error)) => Err(error),
        Err(Stop::NeedMore) => {
            // Doubling, whatever the file asks for: a false length costs the caller no more than twice the bytes
            // that really came.
            let at_least = (prefix.len() as u64)
                .saturating_mul(2)
                .clamp(FIRST_PREFIX_BYTES, MAX_HEADER_BYTES)
                .min(file_len.unwrap_or(u64::MAX));
            Ok(Parse::NeedMore { at_least })
        }
    }
}

fn header(prefix: &[u8], file_len: Option<u64>) -> Result<Gguf, Stop> {
    let shown = &prefix[..prefix.len().min(MAGIC.len())];
    if !MAGIC.starts_with(shown) {
        let found = prefix[..prefix.len().min(8)].to_vec();
        return Err(GgufError::NotGguf { found }.into());
    }
    let mut reader = Reader::new(prefix, file_len);
    reader.take(MAGIC.len() as u64, At::Header)?;
    let version = reader.u32(At::Header)?;
    if version != 0 && version & 0xFFFF == 0 {
        return Err(GgufError::BigEndian.into());
    }
    if version != 2 && version != 3 {
        return Err(GgufError::UnsupportedVersion { version }.into());
    }
    let tensor_count = reader.u64(At::Header)?;
    let entry_count = reader.u64(At::Header)?;

    let (metadata, alignment_offset) = metadata(&mut reader, entry_count)?;
    let alignment = match metadata.u64("general.alignment")? {
        None => DEFAULT_ALIGNMENT,
        Some(value) if value.is_power_of_two() || (value != 0 && value % 8 == 0) => value,
        Some(value) => {
            let offset = alignment_offset;
            return Err(GgufError::BadAlignment { offset, value }.into());
        }
    };

    let rows = tensor_table(&mut reader, tensor_count, alignment)?;
    let data_offset = reader
        .position()
        .checked_next_multiple_of(alignment)
        .ok_or(Stop::Wrong(GgufError::BadAlignment { offset: alignment_offset, value: alignment }))?;
    let tensors = placed(rows, data_offset, file_len)?;
    Ok(Gguf { version, metadata, tensors, alignment, data_offset })
}

/// The metadata, and the offset of the entry `general.alignment` (0 where there is none).
fn metadata(reader: &mut Reader<'_>, count: u64) -> Result<(Metadata, u64), Stop> {
    let capacity = reader.ensure_items(count, SMALLEST_ENTRY, At::Header)?;
    let mut entries = Vec::with_capacity(capacity);
    let mut offsets = Vec::with_capacity(capacity);
    let mut alignment_offset = 0;
    for number in 0..count {
        let offset = reader.position();
        let key = reader.name(MAX_KEY_BYTES, At::Entry(number))?;
        let id_offset = reader.position();
        let id = reader.u32(At::Key(key))?;
        let value = match id {
            0 => Value::U8(reader.u8(At::Key(key))?),
            1 => Value::I8(i8::from_le_bytes(reader.array(At::Key(key))?)),
            2 => Value::U16(u16::from_le_bytes(reader.array(At::Key(key))?)),
            3 => Value::I16(i16::from_le_bytes(reader.array(At::Key(key))?)),
            4 => Value::U32(reader.u32(At::Key(key))?),
            5 => Value::I32(i32::from_le_bytes(reader.array(At::Key(key))?)),
            6 => Value::F32(f32::from_le_bytes(reader.array(At::Key(key))?)),
            7 => Value::Bool(boolean(reader, key)?),
            8 => Value::String(reader.string(At::Key(key))?.to_owned()),
            9 => Value::Array(array(reader, key, 1)?),
            10 => Value::U64(reader.u64(At::Key(key))?),
            11 => Value::I64(i64::from_le_bytes(reader.array(At::Key(key))?)),
            12 => Value::F64(f64::from_le_bytes(reader.array(At::Key(key))?)),
            _ => return Err(unknown_value_type(key, id_offset, id)),
        };
        if key == "general.alignment" {
            alignment_offset = offset;
        }
        entries.push((key.to_owned(), value));
        offsets.push(offset);
    }
    let metadata = Metadata::build(entries, |position| offsets[position])?;
    Ok((metadata, alignment_offset))
}

fn unknown_value_type(key: &str, offset: u64, id: u32) -> Stop {
    Stop::Wrong(GgufError::UnknownValueType { key: key.to_owned(), offset, id })
}

fn boolean(reader: &mut Reader<'_>, key: &str) -> Result<bool, Stop> {
    let offset = reader.position();
    match reader.u8(At::Key(key))? {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(Stop::Wrong(GgufError::InvalidBool { key: key.to_owned(), offset, value })),
    }
}

fn array(reader: &mut Reader<'_>, key: &str, depth: u32) -> Result<Array, Stop> {
    let at = At::Key(key);
    let offset = reader.position();
    if depth > MAX_NESTING {
        return Err(Stop::Wrong(GgufError::NestedTooDeep { key: key.to_owned(), offset, limit: MAX_NESTING }));
    }
    let id = reader.u32(at)?;
    let count = reader.u64(at)?;
    macro_rules! numbers {
        ($number:ty) => {{
            const SIZE: usize = size_of::<$number>();
            reader.ensure_items(count, SIZE as u64, at)?;
            let bytes = reader.take(count * SIZE as u64, at)?;
            let (chunks, _) = bytes.as_chunks::<SIZE>();
            chunks.iter().map(|&chunk| <$number>::from_le_bytes(chunk)).collect()
        }};
    }
    Ok(match id {
        0 => Array::U8(numbers!(u8)),
        1 => Array::I8(numbers!(i8)),
        2 => Array::U16(numbers!(u16)),
        3 => Array::I16(numbers!(i16)),
        4 => Array::U32(numbers!(u32)),
        5 => Array::I32(numbers!(i32)),
        6 => Array::F32(numbers!(f32)),
        7 => {
            let capacity = reader.ensure_items(count, 1, at)?;
            let mut truths = Vec::with_capacity(capacity);
            for _ in 0..count {
                truths.push(boolean(reader, key)?);
            }
            Array::Bool(truths)
        }
        8 => {
            let capacity = reader.ensure_items(count, 8, at)?;
            let mut strings = Vec::with_capacity(capacity);
            for _ in 0..count {
                strings.push(reader.string(at)?.to_owned());
            }
            Array::String(strings)
        }
        9 => {
            let capacity = reader.ensure_items(count, 4 + 8, at)?;
            let mut arrays = Vec::with_capacity(capacity);
            for _ in 0..count {
                arrays.push(array(reader, key, depth + 1)?);
            }
            Array::Array(arrays)
        }
        10 => Array::U64(numbers!(u64)),
        11 => Array::I64(numbers!(i64)),
        12 => Array::F64(numbers!(f64)),
        _ => return Err(unknown_value_type(key, offset, id)),
    })
}

/// A tensor as its table entry gives it: `info.offset` still counts from the start of the data.
struct Row {
    info: TensorInfo,
    /// Where the entry is in the file.
    entry: u64,
}

fn tensor_table(reader: &mut Reader<'_>, count: u64, alignment: u64) -> Result<Vec<Row>, Stop> {
    let capacity = reader.ensure_items(count, SMALLEST_TENSOR, At::Header)?;
    let mut rows = Vec::with_capacity(capacity);
    for number in 0..count {
        rows.push(tensor(reader, number, alignment)?);
    }
    super::sorted_positions(&rows, |row: &Row| &row.info.name).map_err(|(first, again)| GgufError::DuplicateTensor {
        name: rows[again].info.name.clone(),
        offset: rows[again].entry,
        first: rows[first].entry,
    })?;
    Ok(rows)
}

fn tensor(reader: &mut Reader<'_>, number: u64, alignment: u64) -> Result<Row, Stop> {
    let entry = reader.position();
    let name = reader.name(MAX_TENSOR_NAME_BYTES, At::TensorEntry(number))?;
    let at = At::Tensor(name);
    let tensor = || name.to_owned();

    let offset = reader.position();
    let dimensions = reader.u32(at)?;
    if dimensions > MAX_DIMENSIONS {
        return Err(Stop::Wrong(GgufError::TooManyDimensions { tensor: tensor(), offset, dimensions }));
    }
    // A tensor without dimensions is a single number.
    let mut dims = vec![1; dimensions.max(1) as usize];
    for (dimension, size) in (0..dimensions).zip(&mut dims) {
        let offset = reader.position();
        *size = reader.u64(at)?;
        if *size == 0 {
            return Err(Stop::Wrong(GgufError::ZeroDimension { tensor: tensor(), offset, dimension }));
        }
    }

    let offset = reader.position();
    let id = reader.u32(at)?;
    let kind = TensorType::from_id(id).ok_or_else(|| GgufError::UnknownTensorType { tensor: tensor(), offset, id })?;
    let (columns, block) = (dims[0], kind.block_elements());
    if !columns.is_multiple_of(block) {
        return Err(Stop::Wrong(GgufError::RowNotWholeBlocks { tensor: tensor(), offset, kind: kind.name(), columns, block }));
    }
    let bytes = size(&dims, kind).ok_or_else(|| GgufError::SizeOverflow { tensor: tensor(), offset: entry, dims: dims.clone() })?;

    let offset = reader.position();
    let relative = reader.u64(at)?;
    if !relative.is_multiple_of(alignment) {
        return Err(Stop::Wrong(GgufError::MisalignedTensor { tensor: tensor(), offset, relative, alignment }));
    }
    Ok(Row { info: TensorInfo { name: tensor(), dims, kind, offset: relative, bytes }, entry })
}

/// Bytes of a tensor. Element count and bytes both stay below 2^63, as in ggml, where they are signed.
fn size(dims: &[u64], kind: TensorType) -> Option<u64> {
    let limit = i64::MAX as u64;
    let elements = dims.iter().try_fold(1_u64, |product, &size| product.checked_mul(size)).filter(|&elements| elements <= limit)?;
    let bytes = (elements / kind.block_elements()).checked_mul(kind.block_bytes())?;
    (bytes <= limit).then_some(bytes)
}

/// Makes the offsets absolute and checks that every tensor has its own place inside the file.
fn placed(rows: Vec<Row>, data_offset: u64, file_len: Option<u64>) -> Result<Vec<TensorInfo>, GgufError> {
    let mut tensors = Vec::with_capacity(rows.len());
    for Row { mut info, entry } in rows {
        let start = info.offset.checked_add(data_offset);
        let end = start.and_then(|start| start.checked_add(info.bytes));
        let (Some(start), Some(end)) = (start, end) else {
            return Err(GgufError::SizeOverflow { tensor: info.name, offset: entry, dims: info.dims });
        };
        if let Some(file_len) = file_len
            && end > file_len
        {
            return Err(GgufError::TensorPastEnd { tensor: info.name, start, bytes: info.bytes, file_len });
        }
        info.offset = start;
        tensors.push(info);
    }

    let mut order: Vec<u32> = (0..tensors.len()).map(|position| position as u32).collect();
    order.sort_unstable_by_key(|&position| tensors[position as usize].offset);
    for pair in order.windows(2) {
        let (before, after) = (&tensors[pair[0] as usize], &tensors[pair[1] as usize]);
        let other_end = before.offset + before.bytes;
        if after.offset < other_end {
            return Err(GgufError::OverlappingTensors {
                tensor: after.name.clone(),
                start: after.offset,
                other: before.name.clone(),
                other_end,
            });
        }
    }
    Ok(tensors)
}
