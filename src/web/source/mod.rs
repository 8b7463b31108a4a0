//! Models from a web server or from a file of the user's, read in JavaScript's memory.

mod blob;
mod fetch;
mod files;

pub use blob::BlobSource;
pub use fetch::FetchSource;
pub use files::{Picked, Site};

use js_sys::Reflect;
use wasm_bindgen::JsValue;

/// What a thrown JavaScript value says.
fn reason(error: &JsValue) -> String {
    let message = Reflect::get(error, &"message".into()).ok().and_then(|message| message.as_string());
    message.or_else(|| error.as_string()).filter(|text| !text.is_empty()).unwrap_or_else(|| format!("{error:?}"))
}
