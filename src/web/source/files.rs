//! The files of one model: beside each other on a web server, or picked by the user.

use wasm_bindgen::JsCast;
use web_sys::{AbortSignal, Blob, File};

use super::{BlobSource, FetchSource};
use crate::weights::files::{Address, Files};
use crate::weights::source::SourceError;

/// A folder on a web server.
#[derive(Debug)]
pub struct Site {
    address: Address,
    signal: AbortSignal,
}

impl Site {
    /// The folder at `address`. Raising `signal` ends whatever is being waited for.
    pub fn new(address: Address, signal: AbortSignal) -> Self {
        Self { address, signal }
    }
}

impl Files for Site {
    type Source = FetchSource;

    async fn open(&mut self, name: &str) -> Result<Option<FetchSource>, SourceError> {
        FetchSource::find(&self.address.file(name), self.signal.clone()).await
    }

    fn place(&self, name: &str) -> String {
        self.address.file(name)
    }
}

/// Files that the user picked or dropped.
#[derive(Debug)]
pub struct Picked {
    blobs: Vec<Blob>,
}

impl Picked {
    /// These files.
    pub fn new(blobs: Vec<Blob>) -> Self {
        Self { blobs }
    }

    /// The file to begin with: the GGUF file, or the only file there is; `None` for those of a Hugging Face model.
    pub fn entry(&self) -> Option<String> {
        let names: Vec<String> = self.blobs.iter().map(name).collect();
        match &names[..] {
            [only] => Some(only.clone()),
            names => names.iter().find(|name| name.ends_with(".gguf")).cloned(),
        }
    }

    /// What the folder is called that they were picked from, as far as the browser tells.
    pub fn folder(&self) -> String {
        let path = self.blobs.first().and_then(|blob| js_sys::Reflect::get(blob, &"webkitRelativePath".into()).ok());
        let path = path.and_then(|path| path.as_string()).unwrap_or_default();
        path.split_once('/').map_or("model", |(folder, _)| folder).to_owned()
    }
}

impl Files for Picked {
    type Source = BlobSource;

    async fn open(&mut self, wanted: &str) -> Result<Option<BlobSource>, SourceError> {
        Ok(self.blobs.iter().find(|blob| name(blob) == wanted).cloned().map(BlobSource::new))
    }
}

fn name(blob: &Blob) -> String {
    blob.dyn_ref::<File>().map_or_else(|| BlobSource::UNNAMED.into(), File::name)
}
