//! Where a model's bytes come from: a file, memory, or a web server.

#[cfg(not(target_arch = "wasm32"))]
mod file;
mod header;
#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
mod http;
mod memory;
#[cfg(test)]
mod tests;
mod view;

#[cfg(not(target_arch = "wasm32"))]
pub use file::FileSource;
pub use header::{HeaderError, Prefixed, read_header};
#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
pub use http::HttpSource;
pub use memory::MemorySource;
pub use view::{Content, Extent, Piece, View};

/// A run of bytes on its way to the GPU: owned by Rust, or still in JavaScript's memory and not copied into WASM's
/// unless somebody asks.
#[derive(Debug)]
pub enum Chunk {
    /// Bytes in this program's memory.
    Bytes(Vec<u8>),
    /// Bytes in JavaScript's memory.
    #[cfg(all(target_arch = "wasm32", feature = "web"))]
    Js(js_sys::Uint8Array),
}

impl Chunk {
    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            #[cfg(all(target_arch = "wasm32", feature = "web"))]
            Self::Js(array) => array.length() as usize,
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in this program's memory: copied only if they are JavaScript's.
    #[must_use]
    pub fn to_vec(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes,
            #[cfg(all(target_arch = "wasm32", feature = "web"))]
            Self::Js(array) => array.to_vec(),
        }
    }
}

/// Why bytes could not be read. `name` is the source's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each field is named in its message")]
pub enum SourceError {
    #[error("cannot open {name}: {reason}")]
    Open { name: String, reason: String },

    #[error("{name}: {needed} bytes are needed at byte {offset}, but it ends at {len}: is the download complete?")]
    Truncated { name: String, offset: u64, needed: u64, len: u64 },

    #[error("{name} changed while it was being read ({what}); load it again")]
    Changed { name: String, what: String },

    #[error(
        "{name}: the server cannot send a part of a file, which is needed at byte {offset}; use another server or download the file first"
    )]
    RangeUnsupported { name: String, offset: u64 },

    #[error("{name}: reading failed at byte {offset}: {reason}")]
    Failed { name: String, offset: u64, reason: String },
}

/// Bytes that can be read by offset.
#[allow(
    async_fn_in_trait,
    reason = "callers are generic over the source and await on their own thread; in a browser nothing is Send"
)]
#[allow(clippy::len_without_is_empty, reason = "an unknown length is neither empty nor not")]
pub trait Source {
    /// What it is called in messages and in progress: a file name or the last part of a URL.
    fn name(&self) -> &str;

    /// Length in bytes, where it is known.
    fn len(&self) -> Option<u64>;

    /// Exactly `len` bytes at `offset`. Ask for a few MiB at most: they are held in memory. Reads in ascending order
    /// ride one open stream; a jump opens a new range.
    ///
    /// # Errors
    /// `Truncated` where there are fewer bytes than that, and whatever else kept them from coming.
    async fn read(&mut self, offset: u64, len: usize) -> Result<Chunk, SourceError>;

    /// Lets go of what an open stream holds; the next read opens another. For a source that waits while others are read:
    /// browsers open no more than a few connections to one server.
    fn release(&mut self) {}
}

impl<S: Source> Source for &mut S {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn len(&self) -> Option<u64> {
        (**self).len()
    }

    async fn read(&mut self, offset: u64, len: usize) -> Result<Chunk, SourceError> {
        (**self).read(offset, len).await
    }

    fn release(&mut self) {
        (**self).release();
    }
}

/// `Truncated` unless `offset..offset + len` lies before `end`.
fn check_range(name: &str, offset: u64, len: usize, end: u64) -> Result<(), SourceError> {
    match offset.checked_add(len as u64) {
        Some(last) if last <= end => Ok(()),
        _ => Err(SourceError::Truncated { name: name.to_owned(), offset, needed: len as u64, len: end }),
    }
}
