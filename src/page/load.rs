//! The first screen: what is loaded, how far it is, and a model of one's own.

use kinglet::api::protocol::{ErrorBody, LoadPhase};
use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{DragEvent, File, FileList, RequestInit, Response, Url};

use super::app::parameter;
use super::format;
use super::help::{self, NoWebGpu, Problem};
use super::icons::{Icon, Logo};
use super::state::{Model, Phase, Progress, State};

const DEFAULT_MODEL: &str = "models/SmolLM2-135M-Instruct.Q4_1.gguf";

/// What is known of the model that the page offers.
#[derive(Debug, Clone, PartialEq)]
enum Offer {
    /// Still asking its server.
    Asking,
    /// It is there; its size in bytes, where the server tells.
    There(Option<f64>),
    /// It is not.
    Absent,
}

/// The first screen.
#[component]
pub fn Start() -> impl IntoView {
    let state = expect_context::<State>();
    let missing = help::missing();
    let url = absolute(&parameter("model").unwrap_or_else(|| DEFAULT_MODEL.into()));
    let offer = RwSignal::new(Offer::Asking);
    if let (Some(url), None) = (url.clone(), missing) {
        let auto = parameter("autoload").as_deref() == Some("1") && state.phase.get_untracked() == Phase::Idle;
        // Only the first visit of this screen loads by itself.
        if auto && state.loading_name.with_untracked(String::is_empty) {
            state.load(Model::Url(url.clone()));
        }
        spawn_local(async move { offer.set(ask(&url).await) });
    } else {
        offer.set(Offer::Absent);
    }
    if missing.is_some() {
        state.phase.set(Phase::Error);
    }
    let dragging = RwSignal::new(false);
    let on_drop = move |event: DragEvent| {
        event.prevent_default();
        dragging.set(false);
        let files = event.data_transfer().and_then(|transfer| transfer.files());
        if missing.is_none() && state.phase.get_untracked() != Phase::Loading {
            open(state, files);
        }
    };
    let on_drag = move |event: DragEvent| {
        event.prevent_default();
        dragging.set(true);
    };
    let loading = move || state.phase.get() == Phase::Loading;
    view! {
        <div class="start" class:dragging=move || dragging.get() on:dragover=on_drag on:dragleave=move |_| dragging.set(false) on:drop=on_drop>
            <div class="hero">
                <Logo class="big"/>
                <h1>"A small bird that talks"</h1>
                <p>"Kinglet runs an open language model on your own GPU, here in this tab. No account, no server: your words never leave this machine."</p>
            </div>
            {move || state.problem.get().map(|error| view! { <Problem error/> })}
            {match missing {
                Some(missing) => view! { <NoWebGpu missing/> }.into_any(),
                None => view! {
                    <Show when=loading fallback=move || view! { <Offered url=url.clone() offer/> <Own offer/> }>
                        <Loading/>
                    </Show>
                }.into_any(),
            }}
        </div>
    }
}

/// The model that the page offers, with its size before anything is fetched.
#[component]
fn Offered(url: Option<String>, offer: RwSignal<Offer>) -> impl IntoView {
    let state = expect_context::<State>();
    let url = StoredValue::new(url.unwrap_or_default());
    let name = format::file_name(&url.get_value());
    let size = move || match offer.get() {
        Offer::Asking => "…".into(),
        Offer::There(Some(size)) => format!("{} to fetch", format::bytes(size)),
        Offer::There(None) => "size unknown".into(),
        Offer::Absent => String::new(),
    };
    let again = move || state.problem.with(Option::is_some);
    view! {
        <Show when=move || offer.get() != Offer::Absent>
            <section class="card offer" aria-label="Model">
                <div>
                    <h2>{pretty(&name)}</h2>
                    <p>{size}</p>
                </div>
                <button type="button" class="primary" data-testid="load-button" on:click=move |_| state.load(Model::Url(url.get_value()))>
                    {move || if again() { "Try again" } else { "Load" }}
                </button>
            </section>
        </Show>
    }
}

/// A model of one's own: by its address, or a file of this machine.
#[component]
fn Own(offer: RwSignal<Offer>) -> impl IntoView {
    let state = expect_context::<State>();
    let address = RwSignal::new(String::new());
    let picker = NodeRef::<html::Input>::new();
    let absent = move || offer.get() == Offer::Absent;
    let on_submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        match absolute(address.get_untracked().trim()) {
            Some(url) if !address.get_untracked().trim().is_empty() => state.load(Model::Url(url)),
            _ => state.fail(ErrorBody::new("SourceError", "That is not a web address.")),
        }
    };
    let on_pick = move |_| {
        if let Some(input) = picker.get() {
            open(state, input.files());
        }
    };
    view! {
        <details class="card own" prop:open=absent>
            <summary>
                {move || if absent() { "Choose a model in GGUF format" } else { "Or a GGUF model of your own" }}
            </summary>
            <form on:submit=on_submit>
                <label for="address">"Web address of a .gguf file, or of a Hugging Face model's folder, ending in a slash"</label>
                <div class="row">
                    <input id="address" type="text" inputmode="url" autocomplete="off" spellcheck="false" placeholder="https://…/model.gguf"
                        data-testid="model-url" prop:value=address on:input=move |event| address.set(event_target_value(&event))/>
                    <button type="submit" data-testid="load-url">"Load"</button>
                </div>
            </form>
            <label class="file">
                {Icon::File.view()}
                <span>"Open a .gguf file of this machine (or all files of a Hugging Face model), or drop it anywhere on this page"</span>
                <input type="file" multiple accept=".gguf,.safetensors,.json,.jinja,.bin" class="unseen" data-testid="model-file" node_ref=picker on:change=on_pick/>
            </label>
        </details>
    }
}

#[component]
fn Loading() -> impl IntoView {
    let state = expect_context::<State>();
    let share = move || state.progress.get().and_then(done);
    let percent = move || share().map(|share| format!("{:.0}", share * 100.0));
    view! {
        <section class="card loading" aria-label="Loading">
            <div class="row">
                <h2>{move || pretty(&state.loading_name.get())}</h2>
                <button type="button" class="quiet" data-testid="cancel" on:click=move |_| state.cancel_load()>"Cancel"</button>
            </div>
            <div class="crest" class:unknown=move || share().is_none() role="progressbar" aria-label="Loading" aria-valuemin="0" aria-valuemax="100"
                aria-valuenow=percent data-testid="progress">
                <div style:width=move || percent().map(|percent| format!("{percent}%"))></div>
            </div>
            <p class="row">
                <span>{move || what(state.progress.get())}</span>
                <span class="numbers">{move || numbers(state.progress.get())}</span>
            </p>
        </section>
    }
}

fn done(progress: Progress) -> Option<f64> {
    let total = progress.total.filter(|total| *total > 0 && progress.phase != LoadPhase::Compile)?;
    Some((progress.loaded as f64 / total as f64).clamp(0.0, 1.0))
}

fn what(progress: Option<Progress>) -> &'static str {
    match progress.map(|progress| progress.phase) {
        None => "Waking the engine",
        Some(LoadPhase::Header) => "Reading the model's header",
        Some(LoadPhase::Weights) => "Streaming weights to the GPU",
        Some(LoadPhase::Compile) => "Building the GPU programs",
    }
}

fn numbers(progress: Option<Progress>) -> String {
    let Some(progress) = progress else { return String::new() };
    if progress.phase == LoadPhase::Compile {
        return String::new();
    }
    let loaded = progress.loaded as f64;
    let mut parts = vec![match progress.total {
        Some(total) => format!("{} of {}", format::bytes(loaded), format::bytes(total as f64)),
        None => format::bytes(loaded),
    }];
    if progress.bytes_per_second > 0.0 {
        parts.push(format!("{}/s", format::bytes(progress.bytes_per_second)));
        if let Some(total) = progress.total {
            parts.push(format::time_left((total as f64 - loaded) / progress.bytes_per_second));
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

fn open(state: State, files: Option<FileList>) {
    let files: Vec<File> = files.iter().flat_map(|files| (0..files.length()).filter_map(|at| files.get(at))).collect();
    if !files.is_empty() {
        state.load(Model::Files(files));
    }
}

/// `SmolLM2-135M-Instruct.Q4_1.gguf` as `SmolLM2-135M-Instruct · Q4_1`.
fn pretty(name: &str) -> String {
    let stem = name.strip_suffix(".gguf").unwrap_or(name);
    match stem.rsplit_once('.') {
        Some((model, quantization)) => format!("{} · {quantization}", model.replace('-', " ")),
        None => stem.replace('-', " "),
    }
}

/// The worker's script may lie elsewhere than the page: addresses are made absolute here.
fn absolute(address: &str) -> Option<String> {
    let base = document().base_uri().ok().flatten()?;
    Url::new_with_base(address, &base).ok().map(|url| url.href())
}

async fn ask(url: &str) -> Offer {
    let init = RequestInit::new();
    init.set_method("HEAD");
    let Ok(response) = JsFuture::from(window().fetch_with_str_and_init(url, &init)).await else {
        // A server that refuses HEAD to other sites may still allow GET: the load will tell.
        return if url.starts_with(&window().location().origin().unwrap_or_default()) { Offer::Absent } else { Offer::There(None) };
    };
    let Ok(response) = response.dyn_into::<Response>() else { return Offer::Absent };
    // A server that answers every path with its front page has no model there.
    let is_page = response.headers().get("content-type").ok().flatten().is_some_and(|kind| kind.starts_with("text/html"));
    if !response.ok() || is_page {
        return Offer::Absent;
    }
    let size = response.headers().get("content-length").ok().flatten().and_then(|size| size.parse().ok());
    Offer::There(size.filter(|size| *size > 0.0))
}
