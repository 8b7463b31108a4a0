//! A folder on disk.

use super::Files;
use crate::weights::source::{FileSource, SourceError};
use std::path::PathBuf;

/// The files in a folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl Files for Folder {
    type Source = FileSource;

    async fn open(&mut self, name: &str) -> Result<Option<FileSource>, SourceError> {
        // Names come from files that may be hostile: an index must not lead out of its folder.
        let path = std::path::Path::new(name);
        if !path.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
            return Err(SourceError::Open {
                name: name.to_owned(),
                reason: "it is not the name of a file beside the others".into(),
            });
        }
        let path = self.path.join(path);
        if path.exists() { FileSource::open(path).map(Some) } else { Ok(None) }
    }

    fn place(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}
