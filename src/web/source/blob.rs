//! A file that the user picked, or any other blob.

use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, File};

use super::reason;
use crate::weights::source::{Chunk, Source, SourceError};

/// Reads slices of a `Blob`; nothing but the slice asked for is held in memory.
#[derive(Debug)]
pub struct BlobSource {
    blob: Blob,
    name: String,
}

impl BlobSource {
    /// What a blob without a name is called.
    pub const UNNAMED: &str = "the given file";

    /// A source over `blob`, called by the file's name if it is a file.
    pub fn new(blob: Blob) -> Self {
        let name = blob.dyn_ref::<File>().map_or_else(|| Self::UNNAMED.into(), File::name);
        Self { blob, name }
    }
}

impl Source for BlobSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> Option<u64> {
        Some(self.blob.size() as u64)
    }

    async fn read(&mut self, offset: u64, len: usize) -> Result<Chunk, SourceError> {
        let failed = |error| SourceError::Failed { name: self.name.clone(), offset, reason: reason(&error) };
        let size = self.blob.size() as u64;
        let end = offset.saturating_add(len as u64);
        if end > size {
            return Err(SourceError::Truncated { name: self.name.clone(), offset, needed: len as u64, len: size });
        }
        let slice = self.blob.slice_with_f64_and_f64(offset as f64, end as f64).map_err(failed)?;
        let buffer = JsFuture::from(slice.array_buffer()).await.map_err(failed)?;
        let bytes = Uint8Array::new(buffer.unchecked_ref::<ArrayBuffer>());
        if bytes.length() as usize != len {
            // A file that another program writes to while it is read.
            return Err(SourceError::Changed { name: self.name.clone(), what: "its length".into() });
        }
        Ok(Chunk::Js(bytes))
    }
}
