//! Where the downloaded vocabularies, templates and models are. `cargo xtask test` puts them there.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::PathBuf;

use kinglet::weights::gguf::{Gguf, Metadata, Parse};

/// `$KINGLET_CACHE`, or the user's cache folder for Kinglet.
pub fn cache() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("KINGLET_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("kinglet")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/kinglet")))
}

/// A file or folder of the cache; says on stderr what is skipped where it is missing.
pub fn cached(path: &str) -> Option<PathBuf> {
    let found = cache().map(|cache| cache.join(path)).filter(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: {path} is not in the cache; `cargo xtask test` fetches it");
    }
    found
}

/// The metadata of a GGUF file, read as a loader does: from a prefix that grows.
pub fn metadata(path: &PathBuf) -> Metadata {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let mut prefix = Vec::new();
    let mut wanted = 1 << 20;
    loop {
        (&mut file).take(wanted - prefix.len() as u64).read_to_end(&mut prefix).unwrap();
        match Gguf::parse(&prefix, Some(length)).unwrap() {
            Parse::Done(gguf) => return gguf.metadata,
            Parse::NeedMore { at_least } => wanted = at_least.min(length),
        }
    }
}

/// The vocabulary `ggml-vocab-{name}.gguf`.
pub fn vocabulary(name: &str) -> Option<Metadata> {
    cached(&format!("vocab/ggml-vocab-{name}.gguf")).map(|path| metadata(&path))
}

/// The default model.
pub fn smollm2() -> Option<Metadata> {
    cached("models/SmolLM2-135M-Instruct.Q4_1.gguf").map(|path| metadata(&path))
}
