//! Where measured tunings are kept in a browser: its Cache storage, a small JSON text for each device and set of kernels.

use crate::gpu::Gpu;
use crate::model::{TunedBy, Tuning};
use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

const CACHE: &str = "kinglet-tuning";

/// What was measured on this device before, and the same browser. Where there is no storage (private windows, pages without HTTPS), none.
pub async fn stored(gpu: &Gpu, exact: bool) -> Option<Tuning> {
    let found = call(&cache().await?, "match", &[address(gpu, exact).into()]).await?;
    let text = call(&found, "text", &[]).await?.as_string()?;
    serde_json::from_str(&text).ok()
}

/// Keeps what was measured just now. Where that fails, the next load measures again.
pub async fn keep(gpu: &Gpu, exact: bool, tuning: &Tuning, by: TunedBy) {
    if by == TunedBy::Measured
        && let (Ok(text), Some(cache)) = (serde_json::to_string(tuning), cache().await)
        && let Ok(response) = web_sys::Response::new_with_opt_str(Some(&text))
    {
        // Best effort, as said above.
        let _ = call(&cache, "put", &[address(gpu, exact).into(), response.into()]).await;
    }
}

/// A cache's keys are addresses. This one is never fetched.
fn address(gpu: &Gpu, exact: bool) -> String {
    let agent = get(&js_sys::global(), "navigator").and_then(|navigator| get(&navigator, "userAgent")?.as_string());
    let key = format!("{} | {}", Tuning::key(gpu, exact), agent.unwrap_or_default());
    format!("/{CACHE}/{}", js_sys::encode_uri_component(&key))
}

async fn cache() -> Option<JsValue> {
    call(&get(&js_sys::global(), "caches")?, "open", &[CACHE.into()]).await
}

/// What a method's promise gives, if it is something.
async fn call(object: &JsValue, method: &str, arguments: &[JsValue]) -> Option<JsValue> {
    let function = get(object, method)?.dyn_into::<Function>().ok()?;
    let promise = function.apply(object, &arguments.iter().collect::<js_sys::Array>()).ok()?.dyn_into::<Promise>().ok()?;
    JsFuture::from(promise).await.ok().filter(|value| !value.is_undefined() && !value.is_null())
}

fn get(object: &JsValue, name: &str) -> Option<JsValue> {
    Reflect::get(object, &name.into()).ok().filter(|value| !value.is_undefined() && !value.is_null())
}
