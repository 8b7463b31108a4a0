//! A model's tensors wherever they lie: in one file or in several, as stored or changed on the way.

use super::{Chunk, Source, SourceError};
use crate::weights::convert::Conversion;

/// A run of bytes in one of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Which part.
    pub part: usize,
    /// First byte in that part.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What is read at one run of the view's addresses.
#[derive(Debug, Clone, PartialEq)]
pub struct Extent {
    /// First address.
    pub offset: u64,
    /// How many bytes are read there.
    pub bytes: u64,
    /// Where they come from.
    pub content: Content,
}

/// Where bytes come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// These pieces one after the other, as they are stored.
    Stored(Vec<Piece>),
    /// What becomes of the numbers in these pieces.
    Converted(Vec<Piece>, Conversion),
    /// They are no part's.
    Bytes(Vec<u8>),
}

/// Several sources as one: tensors lie at addresses of its own, behind which are pieces of its parts.
#[derive(Debug)]
pub struct View<S> {
    name: String,
    len: Option<u64>,
    parts: Vec<S>,
    /// In the order of addresses.
    extents: Vec<Extent>,
}

impl<S: Source> View<S> {
    /// `extents` must not overlap, and their pieces must be of `parts`. `len` is the sum of what can be read, for progress.
    #[must_use]
    pub fn new(name: impl Into<String>, len: Option<u64>, parts: Vec<S>, mut extents: Vec<Extent>) -> Self {
        extents.sort_by_key(|extent| extent.offset);
        Self { name: name.into(), len, parts, extents }
    }

    /// From now on the extent at `offset` is read as `bytes` bytes, which its stored ones become; `false` if there is none that is stored.
    /// The view's length shrinks with it.
    pub fn convert(&mut self, offset: u64, bytes: u64, conversion: Conversion) -> bool {
        let Ok(at) = self.extents.binary_search_by_key(&offset, |extent| extent.offset) else { return false };
        let extent = &mut self.extents[at];
        let Content::Stored(pieces) = &mut extent.content else { return false };
        let fewer = extent.bytes.saturating_sub(bytes);
        extent.content = Content::Converted(std::mem::take(pieces), conversion);
        extent.bytes = bytes;
        self.len = self.len.map(|len| len.saturating_sub(fewer));
        true
    }

    /// The sources behind it.
    #[must_use]
    pub fn parts(&self) -> &[S] {
        &self.parts
    }

    /// `len` stored bytes at `offset` of the pieces one after the other.
    async fn stored(parts: &mut [S], pieces: &[Piece], mut offset: u64, len: usize) -> Result<Option<Chunk>, SourceError> {
        let mut bytes = Vec::new();
        for piece in pieces {
            if offset >= piece.bytes {
                offset -= piece.bytes;
                continue;
            }
            let Some(part) = parts.get_mut(piece.part) else { break };
            let run = (piece.bytes - offset).min((len - bytes.len()) as u64) as usize;
            let chunk = part.read(piece.offset + offset, run).await?;
            if run == len {
                // Most reads: nothing is copied, and in a browser the bytes stay JavaScript's.
                return Ok(Some(chunk));
            }
            bytes.extend_from_slice(&chunk.to_vec());
            if bytes.len() == len {
                return Ok(Some(Chunk::Bytes(bytes)));
            }
            offset = 0;
        }
        Ok((len == 0).then(|| Chunk::Bytes(Vec::new())))
    }

    /// Converts in steps, so that what is stored wider than it is read does not lie in memory as a whole.
    async fn converted(
        parts: &mut [S],
        pieces: &[Piece],
        conversion: &Conversion,
        offset: u64,
        len: usize,
    ) -> Result<Option<Chunk>, SourceError> {
        const STEP: u64 = 1 << 20;
        let block = conversion.to.block_bytes();
        let (first, last) = (offset / block, (offset + len as u64).div_ceil(block));
        let step = (STEP / conversion.to.block_elements()).max(1);
        let mut bytes = Vec::with_capacity(((last - first) * block) as usize);
        let mut at = first;
        while at < last {
            let blocks = step.min(last - at);
            let (start, count) = conversion.stored(at, blocks);
            let Some(chunk) = Self::stored(parts, pieces, start, count as usize).await? else { return Ok(None) };
            conversion.apply(&chunk.to_vec(), &mut bytes);
            at += blocks;
        }
        bytes.drain(..(offset - first * block) as usize);
        bytes.truncate(len);
        Ok(Some(Chunk::Bytes(bytes)))
    }
}

impl<S: Source> Source for View<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> Option<u64> {
        self.len
    }

    /// Only what lies in one extent can be read at once.
    async fn read(&mut self, offset: u64, len: usize) -> Result<Chunk, SourceError> {
        let next = self.extents.partition_point(|extent| extent.offset <= offset);
        let extent = next.checked_sub(1).map(|last| &self.extents[last]);
        let held = extent.filter(|extent| {
            let end = offset.checked_add(len as u64);
            end.is_some_and(|end| end <= extent.offset + extent.bytes)
        });
        let read = match held {
            None => None,
            Some(extent) => {
                let offset = offset - extent.offset;
                match &extent.content {
                    Content::Stored(pieces) => Self::stored(&mut self.parts, pieces, offset, len).await?,
                    Content::Converted(pieces, conversion) => {
                        Self::converted(&mut self.parts, pieces, conversion, offset, len).await?
                    }
                    Content::Bytes(bytes) => {
                        let held = bytes.get(offset as usize..).and_then(|rest| rest.get(..len));
                        held.map(|held| Chunk::Bytes(held.to_vec()))
                    }
                }
            }
        };
        read.ok_or_else(|| SourceError::Failed {
            name: self.name.clone(),
            offset,
            reason: format!("no tensor has {len} bytes there"),
        })
    }
}
