//! Reading a GGUF header from a source, without reading any byte twice.

use super::{Chunk, Source, SourceError};
use crate::weights::gguf::{FIRST_PREFIX_BYTES, Gguf, GgufError, Parse};

/// Reading the header adds no more than this to the prefix at once.
const STEP: u64 = 4 << 20;

/// Why a header could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The bytes did not come.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The bytes are not a good header.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

/// Reads the header of the GGUF file that `source` gives. The second value is the beginning of the file as far as
/// it was read, at most about twice the header: give it to [`Prefixed`], so that the first tensors' bytes in it need
/// not be read again (which a server that cannot send parts of a file could not do).
///
/// # Errors
/// [`HeaderError`]
pub async fn read_header(source: &mut impl Source) -> Result<(Gguf, Vec<u8>), HeaderError> {
    let mut prefix = Vec::new();
    let mut at_least = FIRST_PREFIX_BYTES.min(source.len().unwrap_or(u64::MAX));
    loop {
        while (prefix.len() as u64) < at_least {
            let offset = prefix.len() as u64;
            let step = (at_least - offset).min(STEP) as usize;
            let chunk = source.read(offset, step).await?;
            if prefix.is_empty() {
                prefix = chunk.to_vec();
            } else {
                prefix.extend_from_slice(&chunk.to_vec());
            }
        }
        match Gguf::parse(&prefix, source.len())? {
            Parse::Done(gguf) => return Ok((gguf, prefix)),
            Parse::NeedMore { at_least: more } => at_least = more,
        }
    }
}

/// A source whose beginning was read already: reads there are answered from memory, all others by the source.
#[derive(Debug)]
pub struct Prefixed<S> {
    source: S,
    prefix: Vec<u8>,
}

impl<S: Source> Prefixed<S> {
    /// `prefix` is the beginning of what `source` gives.
    #[must_use]
    pub fn new(source: S, prefix: Vec<u8>) -> Self {
        Self { source, prefix }
    }
}

impl<S: Source> Source for Prefixed<S> {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn len(&self) -> Option<u64> {
        self.source.len()
    }

    async fn read(&mut self, offset: u64, len: usize) -> Result<Chunk, SourceError> {
        let end = self.prefix.len() as u64;
        if offset >= end {
            return self.source.read(offset, len).await;
        }
        let known = &self.prefix[offset as usize..];
        if len <= known.len() {
            return Ok(Chunk::Bytes(known[..len].to_vec()));
        }
        let rest = self.source.read(end, len - known.len()).await?;
        let mut bytes = known.to_vec();
        bytes.extend_from_slice(&rest.to_vec());
        Ok(Chunk::Bytes(bytes))
    }

    fn release(&mut self) {
        self.source.release();
    }
}
