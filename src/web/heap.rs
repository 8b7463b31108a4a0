//! The size of the WASM heap.

use js_sys::{ArrayBuffer, WebAssembly};
use wasm_bindgen::JsCast;

/// Bytes of WASM memory. It never shrinks, so this is the most it ever was, too.
pub fn peak_bytes() -> u64 {
    let memory = wasm_bindgen::memory().unchecked_into::<WebAssembly::Memory>();
    u64::from(memory.buffer().unchecked_into::<ArrayBuffer>().byte_length())
}
