//! The settings: what they are, where they are kept, and the drawer that shows them.

use leptos::html;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use super::icons::Icon;
use super::state::State;

const KEY: &str = "kinglet.settings";

/// What every answer is asked with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub system: String,
    pub temperature: f32,
    pub top_p: f32,
    pub top_k: u32,
    pub min_p: f32,
    pub repetition_penalty: f32,
    pub max_tokens: u32,
    pub seed: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            system: String::new(),
            temperature: 0.5,
            top_p: 0.95,
            top_k: 40,
            min_p: 0.05,
            repetition_penalty: 1.0,
            max_tokens: 1024,
            seed: None,
        }
    }
}

impl Settings {
    /// As they were left in this browser; the defaults where storage is empty, damaged or forbidden.
    pub fn restored() -> Self {
        let text = storage().and_then(|storage| storage.get_item(KEY).ok().flatten());
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    fn keep(&self) {
        if let (Some(storage), Ok(text)) = (storage(), serde_json::to_string(self)) {
            // A full or forbidden storage costs the next visit its settings, nothing else.
            let _ = storage.set_item(KEY, &text);
        }
    }
}

fn storage() -> Option<web_sys::Storage> {
    web_sys::window()?.local_storage().ok().flatten()
}

/// The drawer; `open` is shown as a modal dialog, so that focus stays inside and Escape closes it.
#[component]
pub fn Drawer(open: RwSignal<bool>) -> impl IntoView {
    let settings = expect_context::<State>().settings;
    let dialog = NodeRef::<html::Dialog>::new();
    Effect::new(move |_| {
        let Some(dialog) = dialog.get() else { return };
        if open.get() && !dialog.open() {
            let _ = dialog.show_modal();
        } else if !open.get() && dialog.open() {
            dialog.close();
        }
    });
    let change = move |act: &dyn Fn(&mut Settings)| {
        settings.update(|settings| {
            act(settings);
            settings.keep();
        });
    };
    // A click on the dialog itself, not on something inside, is a click on what lies behind it.
    let on_backdrop = move |event: leptos::ev::MouseEvent| {
        let outside = dialog.get().is_some_and(|dialog| event.target().as_ref() == Some(dialog.as_ref()));
        if outside {
            open.set(false);
        }
    };
    view! {
        <dialog class="drawer" node_ref=dialog aria-labelledby="settings-title" data-testid="settings"
            on:close=move |_| open.set(false) on:click=on_backdrop>
            <div class="drawer-body">
                <header>
                    <h2 id="settings-title">"Settings"</h2>
                    <button type="button" class="quiet icon" aria-label="Close settings" on:click=move |_| open.set(false)>
                        {Icon::Close.view()}
                    </button>
                </header>
                <label class="field">
                    <span>"System prompt"</span>
                    <textarea rows="4" placeholder="For example: You are brief and kind." prop:value=move || settings.with(|s| s.system.clone())
                        on:change=move |event| change(&|s| s.system = event_target_value(&event))></textarea>
                    <small>"Told to the model before every conversation."</small>
                </label>
                <Slider label="Temperature" hint="0 always takes the likeliest word; higher is freer." max=2.0 step=0.05
                    value=move || settings.with(|s| s.temperature) set=move |v| change(&|s| s.temperature = v)/>
                <Slider label="Top P" hint="Keep the likeliest words up to this share." max=1.0 step=0.01
                    value=move || settings.with(|s| s.top_p) set=move |v| change(&|s| s.top_p = v)/>
                <Slider label="Top K" hint="Keep this many of the likeliest words; 0 keeps all." max=200.0 step=1.0
                    value=move || settings.with(|s| s.top_k as f32) set=move |v| change(&|s| s.top_k = v as u32)/>
                <Slider label="Min P" hint="Drop words far less likely than the likeliest." max=0.5 step=0.01
                    value=move || settings.with(|s| s.min_p) set=move |v| change(&|s| s.min_p = v)/>
                <Slider label="Repetition penalty" hint="Above 1 makes repeating less likely." min=1.0 max=1.5 step=0.01
                    value=move || settings.with(|s| s.repetition_penalty) set=move |v| change(&|s| s.repetition_penalty = v)/>
                <div class="pair">
                    <label class="field">
                        <span>"Longest answer"</span>
                        <input type="number" min="1" max="32768" step="1" inputmode="numeric" prop:value=move || settings.with(|s| s.max_tokens.to_string())
                            on:change=move |event| {
                                if let Ok(n) = event_target_value(&event).parse::<u32>() { change(&|s| s.max_tokens = n.max(1)) }
                            }/>
                        <small>"In tokens, about ¾ of a word each."</small>
                    </label>
                    <label class="field">
                        <span>"Seed"</span>
                        <input type="number" min="0" step="1" inputmode="numeric" placeholder="random"
                            prop:value=move || settings.with(|s| s.seed.map_or(String::new(), |seed| seed.to_string()))
                            on:change=move |event| {
                                let seed = event_target_value(&event).parse().ok();
                                change(&|s| s.seed = seed);
                            }/>
                        <small>"The same seed gives the same answer."</small>
                    </label>
                </div>
                <button type="button" class="quiet" on:click=move |_| change(&|s| *s = Settings::default())>"Back to the defaults"</button>
            </div>
        </dialog>
    }
}

#[component]
fn Slider(
    label: &'static str,
    hint: &'static str,
    #[prop(default = 0.0)] min: f32,
    max: f32,
    step: f32,
    value: impl Fn() -> f32 + Copy + Send + Sync + 'static,
    set: impl Fn(f32) + 'static,
) -> impl IntoView {
    let shown = move || {
        let text = format!("{:.2}", value());
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    view! {
        <label class="field">
            <span>{label} <output>{shown}</output></span>
            <input type="range" min=min max=max step=step prop:value=shown
                on:input=move |event| if let Ok(v) = event_target_value(&event).parse() { set(v) }/>
            <small>{hint}</small>
        </label>
    }
}
