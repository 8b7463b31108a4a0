//! What wgpu cannot say or ask for in a browser: the adapter's own description, and the feature `subgroups`.
//!
//! wgpu's table of features lacks `subgroups` on the web, although browsers have it and WGSL goes to them verbatim. So the two calls
//! that open a device are wrapped once: `gpu.requestAdapter` gives adapters whose `requestDevice` adds the feature where the adapter
//! has it. Closures of Rust and own properties are enough for that: no script is evaluated, which a strict CSP would forbid.

use std::cell::Cell;

use js_sys::{Array, Function, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, future_to_promise};

use crate::gpu::{AdapterChoice, Gpu, GpuError, GpuOptions, Tier, WebAdapter, int8_dot_in_browser};

thread_local! {
    static WANTED: Cell<bool> = const { Cell::new(false) };
    static INSTALLED: Cell<bool> = const { Cell::new(false) };
}

/// What the browser tells of its adapter.
#[derive(Debug, Clone, Default)]
pub struct Adapter {
    /// Its description, or vendor and architecture; empty where the browser tells nothing.
    pub name: String,
    /// What wgpu does not see of it.
    pub about: WebAdapter,
}

/// Opens the browser's GPU, at most as `tier` where one is forced, with subgroups if the device gets them.
///
/// # Errors
/// As [`Gpu::open`].
pub async fn open(tier: Option<Tier>) -> Result<(Gpu, Adapter), GpuError> {
    let adapter = prepare(tier.is_none_or(|tier| tier >= Tier::A)).await.ok_or_else(|| {
        let reason = "this browser offers none to workers: it may be switched off, or the graphics card is not supported";
        GpuError::NoAdapter { reason: reason.into() }
    })?;
    let options = GpuOptions { adapter: AdapterChoice { name: None, tier }, web: adapter.about.clone(), ..GpuOptions::default() };
    Ok((Gpu::open(options).await?, adapter))
}

/// Looks at the adapter and, if `want_subgroups`, sees to it that devices opened from now on have `subgroups` where it does.
/// `None` where there is no WebGPU or no adapter.
async fn prepare(want_subgroups: bool) -> Option<Adapter> {
    let gpu = get(&get(&js_sys::global(), "navigator")?, "gpu")?;
    let options = Object::new();
    Reflect::set(&options, &"powerPreference".into(), &"high-performance".into()).ok()?;
    let request = get(&gpu, "requestAdapter")?.dyn_into::<Function>().ok()?;
    let adapter = JsFuture::from(request.call1(&gpu, &options).ok()?.dyn_into::<Promise>().ok()?).await.ok()?;
    if adapter.is_null() || adapter.is_undefined() {
        return None;
    }
    let subgroups = want_subgroups && has_subgroups(&adapter);
    WANTED.set(subgroups);
    if subgroups && !INSTALLED.replace(true) {
        install(&gpu, request);
    }
    let mut described = describe(&adapter);
    described.about.subgroups = subgroups;
    Some(described)
}

fn describe(adapter: &JsValue) -> Adapter {
    let Some(info) = get(adapter, "info") else { return Adapter::default() };
    let text = |name| get(&info, name).and_then(|value| value.as_string()).filter(|text| !text.is_empty());
    let [vendor, architecture] = ["vendor", "architecture"].map(|name| text(name).unwrap_or_default());
    let number = |name| get(&info, name).and_then(|value| value.as_f64()).map(|value| value as u32).filter(|value| *value > 0);
    let parts: Vec<String> = ["vendor", "architecture", "device"].into_iter().filter_map(text).collect();
    let name = text("description").unwrap_or_else(|| parts.join(" "));
    Adapter {
        name: name.clone(),
        about: WebAdapter {
            int8_dot: int8_dot_in_browser(&vendor, &architecture) && !on_metal() && has_dot_products(),
            lacks_dot: !has_dot_products(),
            name: Some(name),
            // Its place moved from the adapter to its info. Chromium's SwiftShader does not say so of itself if it was asked for by name.
            software: architecture == "swiftshader"
                || [&info, adapter].into_iter().any(|place| get(place, "isFallbackAdapter").is_some_and(|flag| flag.is_truthy())),
            subgroup_sizes: number("subgroupMinSize").zip(number("subgroupMaxSize")).map(|(least, most)| [least, most]),
            vendor: Some(vendor),
            subgroups: false,
        },
    }
}

/// Its WGSL has `dot4I8Packed`, which was not there from the beginning.
fn has_dot_products() -> bool {
    let features = get(&js_sys::global(), "navigator").and_then(|navigator| get(&get(&navigator, "gpu")?, "wgslLanguageFeatures"));
    features.is_some_and(|features| has(&features, "packed_4x8_integer_dot_product"))
}

/// This is a Mac, where WebGPU is Metal whatever the GPU. Its name of old is what all browsers still say.
fn on_metal() -> bool {
    let platform = get(&js_sys::global(), "navigator").and_then(|navigator| get(&navigator, "platform")?.as_string());
    platform.is_some_and(|platform| platform.starts_with("Mac"))
}

/// Wraps `gpu.requestAdapter`, whose unwrapped form is `request`. Closures live as long as the page's GPU does.
fn install(gpu: &JsValue, request: Function) {
    let this = gpu.clone();
    let request_adapter = Closure::<dyn Fn(JsValue) -> Result<Promise, JsValue>>::new(move |options: JsValue| {
        let adapter = request.call1(&this, &options)?.dyn_into::<Promise>()?;
        Ok(future_to_promise(async move {
            let adapter = JsFuture::from(adapter).await?;
            if WANTED.get() && has_subgroups(&adapter) {
                wrap_adapter(&adapter);
            }
            Ok(adapter)
        }))
    });
    // An own property hides the prototype's; where it cannot be set, subgroups are simply not asked for.
    let _ = Reflect::set(gpu, &"requestAdapter".into(), &request_adapter.into_js_value());
}

fn wrap_adapter(adapter: &JsValue) {
    let Some(request) = get(adapter, "requestDevice").and_then(|function| function.dyn_into::<Function>().ok()) else { return };
    let this = adapter.clone();
    let request_device = Closure::<dyn Fn(JsValue) -> Result<JsValue, JsValue>>::new(move |descriptor: JsValue| {
        let descriptor = if descriptor.is_object() { descriptor } else { Object::new().into() };
        let features = get(&descriptor, "requiredFeatures").map_or_else(Array::new, |features| Array::from(&features));
        features.push(&"subgroups".into());
        Reflect::set(&descriptor, &"requiredFeatures".into(), &features)?;
        request.call1(&this, &descriptor)
    });
    let _ = Reflect::set(adapter, &"requestDevice".into(), &request_device.into_js_value());
}

fn has_subgroups(adapter: &JsValue) -> bool {
    get(adapter, "features").is_some_and(|features| has(&features, "subgroups"))
}

/// A set has a name.
fn has(set: &JsValue, name: &str) -> bool {
    let has = get(set, "has").and_then(|has| has.dyn_into::<Function>().ok());
    has.and_then(|has| has.call1(set, &name.into()).ok()).is_some_and(|there| there.is_truthy())
}

fn get(object: &JsValue, name: &str) -> Option<JsValue> {
    Reflect::get(object, &name.into()).ok().filter(|value| !value.is_undefined() && !value.is_null())
}
