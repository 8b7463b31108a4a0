//! One message: what the user said, or the answer with its numbers and buttons.

use kinglet::api::types::Role;
use leptos::ev::MouseEvent;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

use super::chat::copy;
use super::format;
use super::help::Problem;
use super::icons::{Icon, Logo};
use super::markdown;
use super::state::{Outcome, Phase, State, Turn};

/// One message.
#[component]
pub fn Message(turn: Turn) -> impl IntoView {
    match turn.role {
        Role::Assistant => view! { <Answer turn/> }.into_any(),
        _ => view! {
            <article class="said" aria-label="You" data-testid="message-user">{turn.text.get_untracked()}</article>
        }
        .into_any(),
    }
}

#[component]
fn Answer(turn: Turn) -> impl IntoView {
    let state = expect_context::<State>();
    let Turn { id, text, outcome, .. } = turn;
    let (text, outcome) = (RwSignal::from(text), RwSignal::from(outcome));
    let open = move || matches!(outcome.get(), Outcome::Open { .. });
    let waiting = move || open() && text.with(String::is_empty);
    let blocks = Memo::new(move |_| text.with(|text| markdown::blocks(text)));
    let block = move |i: usize| {
        let html = Memo::new(move |_| blocks.with(|blocks| blocks.get(i).cloned().unwrap_or_default()));
        view! { <div class="block" inner_html=html></div> }
    };
    let failure = move || match outcome.get() {
        Outcome::Failed(error) if error.name != "AbortError" => Some(view! { <Problem error/> }),
        _ => None,
    };
    let is_last = move || state.turns.with(|turns| turns.last().is_some_and(|last| last.id == id));
    let can_redo = move || is_last() && state.phase.get() == Phase::Ready;
    let on_copy = move |event: MouseEvent| {
        if let Some(button) = event.current_target().and_then(|target| target.dyn_into().ok()) {
            copy(text.get_untracked(), button);
        }
    };
    view! {
        <article class="answer" class:open=open aria-label="Kinglet" aria-busy=move || open().to_string() data-testid="message-assistant">
            <Logo/>
            <div class="body">
                // Read aloud once it is complete: token by token it would stutter.
                <div class="md" data-testid="message-text" aria-live=move || if open() { "off" } else { "polite" }>
                    <For each=move || 0..blocks.with(Vec::len) key=|i| *i children=block/>
                </div>
                <Show when=waiting><p class="thinking" aria-label="Reading your message"><i></i><i></i><i></i></p></Show>
                {failure}
                <div class="under">
                    <span class="numbers" data-testid="tok-per-s">{move || numbers(&outcome.get())}</span>
                    <Show when=move || !open() && !text.with(String::is_empty)>
                        <button type="button" class="quiet small" data-testid="copy" on:click=on_copy>{Icon::Copy.view()} <span>"Copy"</span></button>
                    </Show>
                    <Show when=can_redo>
                        <button type="button" class="quiet small" data-testid="regenerate" on:click=move |_| state.regenerate()>
                            {Icon::Redo.view()} <span>"Again"</span>
                        </button>
                    </Show>
                </div>
            </div>
        </article>
    }
}

/// The line under an answer: speed, length, and why it ended where that is not plain.
fn numbers(outcome: &Outcome) -> String {
    let tokens = |n: u32| if n == 1 { "1 token".to_owned() } else { format!("{} tokens", format::count(n.into())) };
    match outcome {
        Outcome::Open { tokens: 0, .. } | Outcome::Failed(_) => String::new(),
        Outcome::Cut => "cut off".into(),
        Outcome::Open { tokens: n, per_second } if *per_second == 0.0 => tokens(*n),
        Outcome::Open { tokens: n, per_second } => format!("{} tok/s · {}", format::rate(*per_second), tokens(*n)),
        Outcome::Done { ending, dropped, tokens: n, per_second, first_token_ms } => {
            let mut text = format!("{} tok/s · {}", format::rate(*per_second), tokens(*n));
            if *first_token_ms > 0.0 {
                text.push_str(&format!(" · first after {:.2} s", first_token_ms / 1e3));
            }
            if let Some(ending) = ending {
                text.push_str(&format!(" · {ending}"));
            }
            if *dropped > 0 {
                text.push_str(&format!(" · {}", format::forgotten(*dropped)));
            }
            text
        }
    }
}
