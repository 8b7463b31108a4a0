//! The page's frame: header, first screen or chat, footer; and what holds for all of it.

use leptos::prelude::*;

use super::chat::Chat;
use super::format;
use super::icons::{Icon, Logo};
use super::load::Start;
use super::settings::Drawer;
use super::state::{Phase, State};

/// The whole page.
#[component]
pub fn Page() -> impl IntoView {
    let state = State::new();
    provide_context(state);
    // What the address says holds for this visit and is not kept.
    state.settings.update(|settings| {
        if let Some(temperature) = parameter("temperature").and_then(|text| text.parse::<f32>().ok()) {
            settings.temperature = temperature.clamp(0.0, 2.0);
        }
        if let Some(most) = parameter("max_tokens").and_then(|text| text.parse::<u32>().ok()) {
            settings.max_tokens = most.max(1);
        }
    });
    Effect::new(move |_| {
        let name = state.phase.get().name();
        if let Some(body) = document().body() {
            // A dataset entry of plain letters is always valid.
            let _ = body.dataset().set("state", name);
        }
    });
    let settings_open = RwSignal::new(false);
    // The chat stays in place when the engine fails with a conversation on the page: nothing of it is lost.
    let in_chat = Memo::new(move |_| match state.phase.get() {
        Phase::Ready | Phase::Answering => true,
        Phase::Error => state.turns.with(|turns| !turns.is_empty()),
        Phase::Idle | Phase::Loading => false,
    });
    view! {
        <a class="skip" href="#main">"Skip to the content"</a>
        <header class="top">
            <div class="brand"><Logo/><span>"Kinglet"</span></div>
            <ModelChip/>
            <nav aria-label="Chat">
                <Show when=move || in_chat.get()>
                    <button type="button" class="quiet" data-testid="new-chat" on:click=move |_| state.new_chat()
                        disabled=move || state.turns.with(Vec::is_empty)>
                        {Icon::NewChat.view()} <span>"New chat"</span>
                    </button>
                </Show>
                <button type="button" class="quiet" data-testid="settings-button" aria-haspopup="dialog" on:click=move |_| settings_open.set(true)>
                    {Icon::Sliders.view()} <span>"Settings"</span>
                </button>
            </nav>
        </header>
        <main id="main" tabindex="-1">
            <Show when=move || in_chat.get() fallback=Start>
                <Chat/>
            </Show>
        </main>
        <Foot/>
        <Drawer open=settings_open/>
        <p class="unseen" role="status" aria-live="polite" data-testid="status">{move || status(state)}</p>
    }
}

/// The loaded model's name, and the way to another one.
#[component]
fn ModelChip() -> impl IntoView {
    let state = expect_context::<State>();
    move || {
        state.info.get().map(|info| {
            view! {
                <button type="button" class="chip" title="Choose another model" data-testid="model" on:click=move |_| state.leave_model()>
                    <span>{info.model}</span> {Icon::Swap.view()}
                </button>
            }
        })
    }
}

#[component]
fn Foot() -> impl IntoView {
    let state = expect_context::<State>();
    let facts = move || {
        state.info.get().map(|info| {
            let used = state.context_used.get();
            let context = match used {
                0 => format!("{} tokens of context", format::count(info.context.into())),
                used => format!("{} of {} tokens", format::count(used.into()), format::count(info.context.into())),
            };
            let weights = format!("{} {}", format::parameters(info.parameters), info.quantization);
            let subgroups = if info.subgroups { ", subgroups" } else { "" };
            let mut facts = vec![weights, info.adapter, format!("tier {}{subgroups}", info.tier.to_uppercase())];
            facts.push(format!("{} on the GPU", format::bytes(info.gpu_bytes.max(info.weight_bytes) as f64)));
            facts.push(context);
            facts.retain(|fact| !fact.trim().is_empty());
            view! {
                <ul class="facts" data-testid="facts">{facts.into_iter().map(|fact| view! { <li>{fact}</li> }).collect_view()}</ul>
                {info.notices.into_iter().map(|notice| view! { <p class="notice">{notice}</p> }).collect_view()}
            }
        })
    };
    view! {
        <footer class="foot">
            {facts}
            <p class="promise">{Icon::Lock.view()} <span>"The model runs in this tab. "</span> "Your words never leave this machine."</p>
        </footer>
    }
}

/// What is going on, for screen readers and tests.
fn status(state: State) -> String {
    match state.phase.get() {
        Phase::Idle => "No model is loaded.".into(),
        Phase::Loading => format!("Loading {}.", state.loading_name.get()),
        Phase::Ready => match state.turns.with(Vec::len) {
            0 => "The model is ready.".into(),
            _ => "The answer is complete.".into(),
        },
        Phase::Answering => "The model is answering.".into(),
        Phase::Error => state.problem.get().map_or_else(|| "Something went wrong.".into(), |error| error.message),
    }
}

/// A parameter of the page's address.
pub fn parameter(name: &str) -> Option<String> {
    let query = window().location().search().ok()?;
    web_sys::UrlSearchParams::new_with_str(&query).ok()?.get(name)
}
