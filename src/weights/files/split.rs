//! A GGUF file in parts, as llama.cpp's gguf-split makes them: `NAME-00001-of-00003.gguf` and so on.
//!
//! The first part has the metadata of all. Every part has `split.no` (from 0), `split.count` and `split.tensors.count` (of all parts together).

use super::{Files, Layout, OpenError, Opened, Part, extent, open as open_part};
use crate::weights::gguf::{Gguf, GgufError};
use crate::weights::source::{Source, View};
use std::collections::HashMap;

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";
/// More than any published model has; bounds the files that are opened.
const MAX_PARTS: u32 = 1024;

/// What can be wrong with a model in parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each field is named in its message")]
pub enum SplitError {
    #[error(
        "{file} is one of {count} parts of a model; its name should end in `-00001-of-{count:05}.gguf`, by which the other parts are found"
    )]
    Name { file: String, count: u64 },
    #[error("{file} is one of {count} parts of a model; load it by its path, its address, or with the other parts beside it")]
    Alone { file: String, count: u64 },
    #[error("{file} says that its model has {count} parts; Kinglet opens at most {MAX_PARTS}")]
    TooMany { file: String, count: u64 },
    #[error("{file} is missing: the model has {count} parts, and all of them are needed")]
    Missing { file: String, count: u64 },
    #[error("{file} should be part {expected} of {count}, but says that it is part {found}: was it renamed?")]
    Number { file: String, expected: u64, found: u64, count: u64 },
    #[error("{file} says that its model has {found} parts, and the other parts say {expected}: they are not of one model")]
    Count { file: String, expected: u64, found: u64 },
    #[error("{file} says that its model has {found} tensors, and the other parts say {expected}: they are not of one model")]
    Model { file: String, expected: u64, found: u64 },
    #[error("the tensor `{tensor}` is in {first} and again in {file}: they are not parts of one model")]
    Twice { tensor: String, first: String, file: String },
    #[error(
        "{file} and its other parts have {found} tensors together and should have {expected}: a part is damaged or of another model"
    )]
    Tensors { file: String, expected: u64, found: u64 },
}

/// The name of one part, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartName<'a> {
    /// What all parts have in common.
    pub stem: &'a str,
    /// Which part this is, from 1.
    pub number: u32,
    /// How many there are.
    pub count: u32,
}

impl<'a> PartName<'a> {
    /// `None` unless `name` ends in `-NNNNN-of-NNNNN.gguf`.
    #[must_use]
    pub fn parse(name: &'a str) -> Option<Self> {
        let (stem, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, number) = stem.rsplit_once('-')?;
        let five = |digits: &str| digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit());
        let parsed = five(number) && five(count);
        let (number, count) = (number.parse().ok()?, count.parse().ok()?);
        (parsed && (1..=count).contains(&number)).then_some(Self { stem, number, count })
    }

    /// The name of another part.
    #[must_use]
    pub fn sibling(&self, number: u32) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count)
    }
}

/// What the keys of one part say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Keys {
    number: u64,
    count: u64,
    tensors: Option<u64>,
}

impl Keys {
    fn of(gguf: &Gguf) -> Result<Option<Self>, GgufError> {
        let Some(count) = gguf.metadata.u64(COUNT)?.filter(|count| *count > 1) else { return Ok(None) };
        let number = gguf.metadata.u64(NUMBER)?.unwrap_or(0);
        Ok(Some(Self { number, count, tensors: gguf.metadata.u64(TENSORS)? }))
    }
}

/// A model in parts, and which of them was asked for.
pub(super) struct Split<'a> {
    name: PartName<'a>,
    keys: Keys,
}

impl<'a> Split<'a> {
    /// `None` for a file that is not one of several.
    pub fn of(file: &'a str, gguf: &Gguf) -> Result<Option<Self>, OpenError> {
        let keys = Keys::of(gguf).map_err(|error| OpenError::Gguf { file: file.to_owned(), error })?;
        let Some(keys) = keys else { return Ok(None) };
        let count = keys.count;
        if count > u64::from(MAX_PARTS) {
            return Err(SplitError::TooMany { file: file.to_owned(), count }.into());
        }
        match PartName::parse(file) {
            Some(name) if u64::from(name.count) == count => Ok(Some(Self { name, keys })),
            _ => Err(SplitError::Name { file: file.to_owned(), count }.into()),
        }
    }
}

/// The error for a part that is given without a way to find the others, or `None` for a whole file.
pub(crate) fn alone(file: &str, gguf: &Gguf) -> Result<Option<SplitError>, GgufError> {
    Ok(Keys::of(gguf)?.map(|keys| SplitError::Alone { file: file.to_owned(), count: keys.count }))
}

/// Opens all parts; `given` is the one that was asked for.
pub(super) async fn open<F: Files>(
    files: &mut F,
    split: Split<'_>,
    given: Part<F::Source>,
) -> Result<Opened<F::Source>, OpenError> {
    let Split { name, keys } = split;
    let mut given = Some(given);
    let mut parts: Vec<Part<F::Source>> = Vec::new();
    for number in 1..=name.count {
        let file = name.sibling(number);
        let mut part = match given.take_if(|_| number == name.number) {
            Some(part) => part,
            None => open_part(files, &file).await?.ok_or_else(|| SplitError::Missing { file: file.clone(), count: keys.count })?,
        };
        check(&file, &part.gguf, keys, number)?;
        if number > 1 {
            part.source.release();
        }
        parts.push(part);
    }
    join(name, keys, parts)
}

fn check(file: &str, gguf: &Gguf, keys: Keys, number: u32) -> Result<(), OpenError> {
    let file = || file.to_owned();
    let found = Keys::of(gguf).map_err(|error| OpenError::Gguf { file: file(), error })?;
    let found = found.ok_or_else(|| SplitError::Count { file: file(), expected: keys.count, found: 1 })?;
    if found.count != keys.count {
        return Err(SplitError::Count { file: file(), expected: keys.count, found: found.count }.into());
    }
    if found.number != u64::from(number) - 1 {
        let (expected, found) = (u64::from(number), found.number.saturating_add(1));
        return Err(SplitError::Number { file: file(), expected, found, count: keys.count }.into());
    }
    if let (Some(expected), Some(found)) = (keys.tensors, found.tensors)
        && expected != found
    {
        return Err(SplitError::Model { file: file(), expected, found }.into());
    }
    Ok(())
}

/// One header and one source of all parts: their bytes lie one after the other.
fn join<S: Source>(name: PartName<'_>, keys: Keys, parts: Vec<Part<S>>) -> Result<Opened<S>, OpenError> {
    let mut len = Some(0);
    let mut base = 0_u64;
    let (mut headers, mut sources, mut extents) = (Vec::new(), Vec::new(), Vec::new());
    for (number, Part { gguf, source }) in parts.into_iter().enumerate() {
        let end = gguf.tensors.iter().map(|tensor| tensor.offset + tensor.bytes).fold(gguf.data_offset, u64::max);
        extents.extend(
            gguf.tensors.iter().map(|tensor| extent(base.saturating_add(tensor.offset), tensor.bytes, number, tensor.offset)),
        );
        len = len.zip(source.len()).map(|(sum, len)| sum + len);
        headers.push((base, gguf));
        sources.push(source);
        // A file's length may be unknown; its tensors' places are not.
        base = base.saturating_add(end);
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (number, (_, gguf)) in headers.iter().enumerate() {
        for tensor in &gguf.tensors {
            if let Some(first) = seen.insert(&tensor.name, number) {
                let file = |number: usize| name.sibling(number as u32 + 1);
                return Err(SplitError::Twice { tensor: tensor.name.clone(), first: file(first), file: file(number) }.into());
            }
        }
    }
    let found = seen.len() as u64;
    if let Some(expected) = keys.tensors.filter(|expected| *expected != found) {
        return Err(SplitError::Tensors { file: name.sibling(1), expected, found }.into());
    }
    let mut tensors = Vec::with_capacity(seen.len());
    let mut joined = None;
    for (base, mut gguf) in headers {
        tensors.extend(gguf.tensors.drain(..).map(|mut tensor| {
            tensor.offset = tensor.offset.saturating_add(base);
            tensor
        }));
        joined.get_or_insert(gguf);
    }
    // There are at least two parts.
    let Some(mut gguf) = joined else { return Err(SplitError::Missing { file: name.sibling(1), count: keys.count }.into()) };
    gguf.tensors = tensors;
    let source = View::new(name.sibling(1), len, sources, extents);
    Ok(Opened { gguf, source, layout: Layout::Split(name.count as usize) })
}
