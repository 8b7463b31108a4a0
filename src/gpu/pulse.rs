//! Empty submits while a result is awaited in Firefox.
//!
//! Firefox looks for finished work when something is submitted, and otherwise every 100 ms. The kick right after `map_async` comes too early
//! unless the driver computes within the submit: with three tokens in flight, all three would wait for the next look, which is 30 tokens per
//! second on any GPU. So while anything is awaited, an empty submit goes out every few milliseconds. One closure and at most one timer serve
//! all waits; other browsers, which tell by themselves, get neither.

use js_sys::{Function, Reflect};
use std::cell::RefCell;
use wasm_bindgen::prelude::*;

/// Browsers round shorter intervals up to this.
const INTERVAL_MS: u32 = 4;

/// The timer; `None` in browsers that need none.
pub(super) struct Pulse(Option<Timer>);

struct Timer {
    set: Function,
    clear: Function,
    submit: Closure<dyn Fn()>,
    state: RefCell<State>,
}

/// The timer runs while somebody waits.
#[derive(Default)]
struct State {
    waits: u32,
    id: Option<JsValue>,
}

/// The pulse beats while this lives.
pub(super) struct Beat<'a>(Option<&'a Timer>);

impl Pulse {
    pub(super) fn new(queue: &wgpu::Queue) -> Self {
        Self(is_firefox().then(|| Timer::new(queue.clone())).flatten())
    }

    pub(super) fn beat(&self) -> Beat<'_> {
        if let Some(timer) = &self.0 {
            timer.start();
        }
        Beat(self.0.as_ref())
    }
}

impl Drop for Beat<'_> {
    fn drop(&mut self) {
        if let Some(timer) = self.0 {
            timer.stop();
        }
    }
}

impl Timer {
    fn new(queue: wgpu::Queue) -> Option<Self> {
        let function = |name: &str| get(&js_sys::global(), name)?.dyn_into::<Function>().ok();
        let submit = Closure::<dyn Fn()>::new(move || {
            queue.submit([]);
        });
        Some(Self { set: function("setInterval")?, clear: function("clearInterval")?, submit, state: RefCell::default() })
    }

    fn start(&self) {
        let mut state = self.state.borrow_mut();
        state.waits += 1;
        if state.waits == 1 {
            state.id = self.set.call2(&JsValue::UNDEFINED, self.submit.as_ref(), &INTERVAL_MS.into()).ok();
        }
    }

    fn stop(&self) {
        let mut state = self.state.borrow_mut();
        state.waits -= 1;
        if state.waits == 0
            && let Some(id) = state.id.take()
        {
            // Clearing a timer cannot fail.
            let _ = self.clear.call1(&JsValue::UNDEFINED, &id);
        }
    }
}

/// No feature tells how a browser completes maps: its name has to.
fn is_firefox() -> bool {
    let agent = get(&js_sys::global(), "navigator").and_then(|navigator| get(&navigator, "userAgent")?.as_string());
    agent.is_some_and(|agent| agent.contains("Firefox/"))
}

fn get(object: &JsValue, name: &str) -> Option<JsValue> {
    Reflect::get(object, &name.into()).ok()
}
