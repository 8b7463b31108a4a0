//! Models of one file or of several, opened as one thing: a header, and a source that its tensors' offsets are in.

mod address;
#[cfg(not(target_arch = "wasm32"))]
mod folder;
#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
mod site;
mod split;
#[cfg(test)]
pub(crate) mod tests;

pub use address::Address;
#[cfg(not(target_arch = "wasm32"))]
pub use folder::Folder;
#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
pub use site::Site;
pub(crate) use split::alone;
pub use split::{PartName, SplitError};

use super::convert::{Conversion, Quantize};
use super::gguf::Gguf;
use super::hf::{self, HfError};
use super::source::{Content, Extent, HeaderError, Piece, Prefixed, Source, SourceError, View, read_header};
use split::Split;

/// Where the files of one model are: a folder, an address on the web, what a user picked.
#[allow(async_fn_in_trait, reason = "as for Source")]
pub trait Files {
    /// What one file is read through.
    type Source: Source;

    /// The file called `name`, or `None` where there is none.
    ///
    /// # Errors
    /// Whatever else keeps it from being opened.
    async fn open(&mut self, name: &str) -> Result<Option<Self::Source>, SourceError>;

    /// Where the file called `name` is or would be, for messages.
    fn place(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// Why a model's files could not be opened as a model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "each field is named in its message")]
pub enum OpenError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{file}: {error}")]
    Gguf { file: String, error: super::gguf::GgufError },
    #[error(transparent)]
    Split(#[from] SplitError),
    #[error(transparent)]
    HuggingFace(#[from] HfError),
}

impl OpenError {
    pub(crate) fn header(file: &str, error: HeaderError) -> Self {
        match error {
            HeaderError::Source(error) => Self::Source(error),
            HeaderError::Gguf(error) => Self::Gguf { file: file.to_owned(), error },
        }
    }
}

/// What a model's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One GGUF file.
    Gguf,
    /// A GGUF file in so many parts.
    Split(usize),
    /// A folder in Hugging Face's layout, with so many files of weights.
    HuggingFace(usize),
}

/// A model whose header has been read.
#[derive(Debug)]
pub struct Opened<S> {
    /// The header; with several files, that of all together. Offsets of tensors are addresses of `source`.
    pub gguf: Gguf,
    /// The tensors' bytes.
    pub source: View<Prefixed<S>>,
    /// What the files are.
    pub layout: Layout,
}

/// Opens a model: the GGUF file called `file` with what belongs to it, or, without `file` or with one that Hugging Face's libraries
/// wrote, all the files together as a model called `name`.
///
/// # Errors
/// [`OpenError`] names the file.
pub async fn open_model<F: Files>(
    files: &mut F,
    file: Option<&str>,
    name: &str,
    quantize: Quantize,
) -> Result<Opened<F::Source>, OpenError> {
    let hugging_face = |file: &str| file.contains(".safetensors") || file.starts_with("pytorch_model") || file == "config.json";
    match file.filter(|file| !hugging_face(file)) {
        Some(file) => Ok(quantized(open_gguf(files, file).await?, quantize)),
        None => hf::open(files, name, quantize).await,
    }
}

/// The same model with its plain matrices quantized while they are read. A tensor's address stays, though it is read in fewer bytes.
fn quantized<S: Source>(mut opened: Opened<S>, quantize: Quantize) -> Opened<S> {
    if quantize == Quantize::None {
        return opened;
    }
    let tied = opened.gguf.tensor("output.weight").is_none();
    for tensor in &mut opened.gguf.tensors {
        let (from, to) = (tensor.kind, quantize.of(tensor, tied));
        let bytes = to.row_bytes(tensor.columns()).and_then(|row| row.checked_mul(tensor.rows()));
        if let Some(bytes) = bytes.filter(|_| from != to)
            && opened.source.convert(tensor.offset, bytes, Conversion { from, to, add: 0.0 })
        {
            (tensor.kind, tensor.bytes) = (to, bytes);
        }
    }
    opened
}

/// Opens the GGUF file called `name`, with its other parts if it is one of several.
///
/// # Errors
/// [`OpenError`] names the file.
pub async fn open_gguf<F: Files>(files: &mut F, name: &str) -> Result<Opened<F::Source>, OpenError> {
    let first = open(files, name).await?;
    let Some(first) = first else {
        return Err(SourceError::Open { name: files.place(name), reason: "there is no such file".into() }.into());
    };
    if let Some(split) = Split::of(name, &first.gguf)? {
        return split::open(files, split, first).await;
    }
    let Part { gguf, source } = first;
    let len = source.len();
    let extents = gguf.tensors.iter().map(|tensor| extent(tensor.offset, tensor.bytes, 0, tensor.offset)).collect();
    let source = View::new(source.name().to_owned(), len, vec![source], extents);
    Ok(Opened { gguf, source, layout: Layout::Gguf })
}

/// A file with its header.
struct Part<S> {
    gguf: Gguf,
    source: Prefixed<S>,
}

async fn open<F: Files>(files: &mut F, name: &str) -> Result<Option<Part<F::Source>>, OpenError> {
    let Some(mut source) = files.open(name).await? else { return Ok(None) };
    let (gguf, prefix) = read_header(&mut source).await.map_err(|error| OpenError::header(name, error))?;
    Ok(Some(Part { gguf, source: Prefixed::new(source, prefix) }))
}

/// Bytes as they are stored.
fn extent(offset: u64, bytes: u64, part: usize, at: u64) -> Extent {
    Extent { offset, bytes, content: Content::Stored(vec![Piece { part, offset: at, bytes }]) }
}
