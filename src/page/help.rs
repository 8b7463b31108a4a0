//! What to do when something is wrong, in words for people.

use kinglet::api::protocol::ErrorBody;
use leptos::prelude::*;
use wasm_bindgen::JsValue;

use super::icons::Icon;

/// Why this browser cannot run the engine, if it cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The page came over plain http from another machine: browsers hide WebGPU there.
    SecureContext,
    /// The browser has no WebGPU, or it is switched off.
    WebGpu,
}

/// What this browser lacks. An adapter may still be absent: the worker tells that.
pub fn missing() -> Option<Missing> {
    let window = web_sys::window()?;
    if !window.is_secure_context() {
        return Some(Missing::SecureContext);
    }
    let gpu = js_sys::Reflect::get(&window.navigator(), &JsValue::from_str("gpu")).ok()?;
    (gpu.is_undefined() || gpu.is_null()).then_some(Missing::WebGpu)
}

/// What to do about an error of this name.
pub fn advice(name: &str) -> Option<&'static str> {
    Some(match name {
        "WebGPUNotAvailableError" => {
            "Update the browser and the graphics driver, and see that hardware acceleration is switched on in the browser's settings."
        }
        "DeviceLostError" => "The graphics driver was reset. Load the model again; this conversation is kept.",
        "OutOfMemoryError" => "Close other tabs and programs that use the GPU, begin a new chat, or choose a smaller model.",
        "ModelFilesError" => {
            "A model of several files needs all of them: choose them together, or give the address of the folder, ending in a slash."
        }
        "GgufError" => "The file may be damaged or no GGUF file: download it again, or choose another.",
        "UnsupportedModelError" => {
            "Choose another model, or another file of this one: the message says what it has that Kinglet lacks."
        }
        "SourceError" => {
            "See that the address is right and that its server allows other sites to read it (CORS), or download the file and open it here."
        }
        "ChatTemplateError" => {
            "This model's template refuses this conversation: change or clear the system prompt, or begin a new chat."
        }
        "ContextWindowSizeExceededError" => {
            "This message and the system prompt together are too long for the model's context: shorten them, or send the message in parts."
        }
        "WorkerError" => "Reload the page. If that does not help, clear this site's cached files.",
        _ => return None,
    })
}

/// An error's message begins in lower case, to follow a prefix; here it stands alone.
fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// An error and what to do about it.
#[component]
pub fn Problem(error: ErrorBody) -> impl IntoView {
    let advice = advice(&error.name);
    view! {
        <div class="problem" role="alert" data-testid="problem">
            {Icon::Alert.view()}
            <div>
                <strong>{sentence(&error.message)}</strong>
                {advice.map(|advice| view! { <p>{advice}</p> })}
                <small>{error.name}</small>
            </div>
        </div>
    }
}

/// Shown in place of the load button where WebGPU is missing.
#[component]
pub fn NoWebGpu(missing: Missing) -> impl IntoView {
    match missing {
        Missing::SecureContext => view! {
            <section class="card wall" role="alert" data-testid="no-webgpu">
                <h2>"This page needs https"</h2>
                <p>"Browsers offer WebGPU only to pages from https or from localhost. Open this page at such an address."</p>
            </section>
        }
        .into_any(),
        Missing::WebGpu => view! {
            <section class="card wall" role="alert" data-testid="no-webgpu">
                <h2>"This browser has no WebGPU"</h2>
                <p>"Kinglet runs the model on your GPU, and browsers reach it through WebGPU. These have it:"</p>
                <ul>
                    <li><b>"Chrome, Edge, Opera, Brave"</b>" from 113 on Windows, macOS and ChromeOS, from 121 on Android. On Linux, if it is off, turn on "<code>"chrome://flags/#enable-unsafe-webgpu"</code>" and "<code>"#enable-vulkan"</code>"."</li>
                    <li><b>"Safari"</b>" from 26 on macOS, iOS, iPadOS and visionOS."</li>
                    <li><b>"Firefox"</b>" from 141 on Windows and 145 on macOS. Elsewhere set "<code>"dom.webgpu.enabled"</code>" in "<code>"about:config"</code>"."</li>
                </ul>
                <p>"If yours is on this list, update it and the graphics driver, and see that hardware acceleration is switched on in its settings."</p>
            </section>
        }
        .into_any(),
    }
}
