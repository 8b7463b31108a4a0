//! Any bytes at all through the GGUF reader.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz gguf_parse tests/fuzz/corpus/gguf_parse tests/data/gguf`
//! begins with the seeds in `tests/data/gguf` and keeps what it finds in `tests/fuzz/corpus` (which is not committed).
//! What makes it fail belongs in `tests/data/gguf`, where every test run replays it.
#![no_main]

#[path = "../../../src/weights/gguf/mod.rs"]
#[allow(dead_code, reason = "the fuzzer uses only the reader")]
mod gguf;
#[path = "../../common/ggufcheck.rs"]
mod ggufcheck;
#[path = "../../../src/weights/types.rs"]
#[allow(dead_code, reason = "the fuzzer uses only the reader")]
mod types;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ggufcheck::check(bytes));
