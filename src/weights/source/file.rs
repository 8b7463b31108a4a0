//! A file on disk.

use super::{Chunk, Source, SourceError, check_range};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

/// A local file. Its length is taken when it is opened; a file that shrinks later is `Truncated`.
#[derive(Debug)]
pub struct FileSource {
    name: String,
    file: File,
    len: u64,
    position: u64,
}

impl FileSource {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// `Open` where it does not exist, is a folder, or may not be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SourceError> {
        let path = path.as_ref();
        let failed = |reason: String| SourceError::Open { name: path.display().to_string(), reason };
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| failed(error.to_string()))?;
        if metadata.is_dir() {
            return Err(failed("it is a folder, not a file".to_owned()));
        }
        let name = path.file_name().unwrap_or(path.as_os_str());
        Ok(Self { name: name.to_string_lossy().into_owned(), file, len: metadata.len(), position: 0 })
    }

    fn fill(&mut self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        if self.position != offset {
            self.file.seek(SeekFrom::Start(offset))?;
        }
        // Unknown until the read has gone well.
        self.position = u64::MAX;
        self.file.read_exact(out)?;
        self.position = offset + out.len() as u64;
        Ok(())
    }
}

impl Source for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> Option<u64> {
        Some(self.len)
    }

    async fn read(&mut self, offset: u64, len: usize) -> Result<Chunk, SourceError> {
        check_range(&self.name, offset, len, self.len)?;
        let mut bytes = vec![0; len];
        match self.fill(offset, &mut bytes) {
            Ok(()) => Ok(Chunk::Bytes(bytes)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(SourceError::Truncated {
                name: self.name.clone(),
                offset,
                needed: len as u64,
                len: self.file.metadata().map_or(self.len, |now| now.len()),
            }),
            Err(error) => Err(SourceError::Failed { name: self.name.clone(), offset, reason: error.to_string() }),
        }
    }
}
