//! The conversation and the composer.

use leptos::ev::{KeyboardEvent, MouseEvent};
use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::Element;

use super::help::Problem;
use super::icons::{Icon, Logo};
use super::message::Message;
use super::state::{Phase, State};

/// How far from the end, in pixels, still counts as reading along.
const NEAR_END: i32 = 96;

const SUGGESTIONS: [&str; 4] = [
    "What is gravity?",
    "Write a short poem about a small bird with a crown.",
    "Explain recursion to a child.",
    "Give me three ideas for a rainy afternoon.",
];

/// The conversation and the composer.
#[component]
pub fn Chat() -> impl IntoView {
    let state = expect_context::<State>();
    let list = NodeRef::<html::Div>::new();
    let at_end = StoredValue::new(true);
    let on_scroll = move |_| {
        if let Some(list) = list.get_untracked() {
            at_end.set_value(list.scroll_height() - list.scroll_top() - list.client_height() < NEAR_END);
        }
    };
    let to_end = move || {
        request_animation_frame(move || {
            if let Some(list) = list.get_untracked() {
                list.set_scroll_top(list.scroll_height());
            }
        });
    };
    Effect::new(move |_| {
        state.beat.track();
        if at_end.get_value() {
            to_end();
        }
    });
    Effect::new(move |before: Option<usize>| {
        let turns = state.turns.with(Vec::len);
        if before.is_none_or(|before| turns > before) {
            at_end.set_value(true);
            to_end();
        }
        turns
    });
    view! {
        <div class="talk" node_ref=list on:scroll=on_scroll on:click=copy_code>
            <div class="column" role="log" aria-label="Conversation" aria-live="off">
                <Show when=move || state.turns.with(Vec::is_empty)><Welcome/></Show>
                <For each=move || state.turns.get() key=|turn| turn.id let:turn>
                    <Message turn/>
                </For>
                {move || (state.phase.get() == Phase::Error).then(|| view! {
                    {state.problem.get().map(|error| view! { <Problem error/> })}
                    <button type="button" class="primary" data-testid="load-again" on:click=move |_| state.load_again()>"Load the model again"</button>
                })}
            </div>
        </div>
        <Composer/>
    }
}

#[component]
fn Welcome() -> impl IntoView {
    let state = expect_context::<State>();
    let name = move || state.info.with(|info| info.as_ref().map_or(String::new(), |info| info.model.clone()));
    view! {
        <div class="welcome">
            <Logo class="big"/>
            <h1>"What shall we talk about?"</h1>
            <p>{move || format!("{} is ready. It is small and quick, and it is sometimes wrong.", name())}</p>
            <div class="suggestions">
                {SUGGESTIONS.into_iter().map(|text| view! {
                    <button type="button" on:click=move |_| state.send(text.into())>{text}</button>
                }).collect_view()}
            </div>
        </div>
    }
}

#[component]
fn Composer() -> impl IntoView {
    let state = expect_context::<State>();
    let text = RwSignal::new(String::new());
    let area = NodeRef::<html::Textarea>::new();
    let answering = move || state.phase.get() == Phase::Answering;
    let can_send = move || state.phase.get() == Phase::Ready && !text.with(|text| text.trim().is_empty());
    let send = move || {
        if can_send() {
            state.send(text.get_untracked().trim().to_owned());
            text.set(String::new());
        }
    };
    let on_key = move |event: KeyboardEvent| {
        // Enter also ends a composed character (Chinese, Japanese, Korean): that one is not ours.
        if event.key() == "Enter" && !event.shift_key() && !event.is_composing() {
            event.prevent_default();
            send();
        }
    };
    // The field is as high as its text, up to what the style allows.
    Effect::new(move |_| {
        text.track();
        request_animation_frame(move || {
            if let Some(area) = area.get_untracked() {
                let style = web_sys::HtmlElement::style(&area);
                let _ = style.set_property("height", "auto");
                let _ = style.set_property("height", &format!("{}px", area.scroll_height()));
            }
        });
    });
    // Typing goes on without a click once an answer is complete, where there is a keyboard.
    Effect::new(move |_| {
        let fine = window().match_media("(pointer: fine)").ok().flatten().is_some_and(|media| media.matches());
        if let (Phase::Ready, true, Some(area)) = (state.phase.get(), fine, area.get()) {
            let _ = area.focus();
        }
    });
    view! {
        <form class="composer" on:submit=move |event| { event.prevent_default(); send(); }>
            <label class="unseen" for="composer">"Message"</label>
            <textarea id="composer" rows="1" node_ref=area data-testid="composer" enterkeyhint="send" autocomplete="off"
                placeholder="Ask something…" aria-describedby="composer-keys"
                prop:value=text on:input=move |event| text.set(event_target_value(&event)) on:keydown=on_key></textarea>
            <span class="unseen" id="composer-keys">"Enter sends, Shift and Enter begins a new line."</span>
            <Show when=answering fallback=move || view! {
                <button type="submit" class="round primary" aria-label="Send" title="Send (Enter)" data-testid="send"
                    disabled=move || !can_send()>{Icon::Send.view()}</button>
            }>
                <button type="button" class="round" aria-label="Stop" title="Stop the answer" data-testid="stop"
                    on:click=move |_| state.stop()>{Icon::Stop.view()}</button>
            </Show>
        </form>
    }
}

/// Code blocks are plain HTML inside a message: their copy buttons are served from here.
fn copy_code(event: MouseEvent) {
    let Some(target) = event.target().and_then(|target| target.dyn_into::<Element>().ok()) else { return };
    let Ok(Some(button)) = target.closest("[data-copy]") else { return };
    let code = button.closest(".code").ok().flatten().and_then(|block| block.query_selector("pre").ok().flatten());
    copy(code.and_then(|code| code.text_content()).unwrap_or_default(), button);
}

/// Puts `text` on the clipboard, and says so on the button for a moment.
pub fn copy(text: String, button: Element) {
    spawn_local(async move {
        let done = JsFuture::from(window().navigator().clipboard().write_text(&text)).await.is_ok();
        let _ = button.set_attribute("data-said", if done { "Copied" } else { "Not allowed" });
        set_timeout(move || drop(button.remove_attribute("data-said")), std::time::Duration::from_millis(1600));
    });
}
