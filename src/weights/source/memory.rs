//! Bytes that are in memory already.

use super::{Chunk, Source, SourceError, check_range};

/// A whole file in memory: for tests and for small files.
#[derive(Debug, Clone)]
pub struct MemorySource {
    name: String,
    bytes: Vec<u8>,
}

impl MemorySource {
    /// A source over `bytes`; `name` is for messages.
    #[must_use]
    pub fn new(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), bytes }
    }
}

impl Source for MemorySource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> Option<u64> {
        Some(self.bytes.len() as u64)
    }

    async fn read(&mut self, offset: u64, len: usize) -> Result<Chunk, SourceError> {
        check_range(&self.name, offset, len, self.bytes.len() as u64)?;
        let start = offset as usize;
        Ok(Chunk::Bytes(self.bytes[start..start + len].to_vec()))
    }
}
