//! The page's end of the worker: starts it, posts messages once it listens, and hands on what it says.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Array, JSON, Reflect};
use kinglet::api::protocol::{ErrorBody, FromWorker, ToWorker};
use wasm_bindgen::prelude::*;
use web_sys::{ErrorEvent, Event, File, MessageEvent, Worker, WorkerOptions, WorkerType};

/// Trunk's loader of the bin `worker`, beside the page.
const SCRIPT: &str = "./worker_loader.js";

/// A running worker; dropping it ends the worker and frees its GPU memory.
pub struct Client {
    worker: Worker,
    /// What was posted before `ready`; `None` from then on.
    early: Rc<RefCell<Option<Vec<JsValue>>>>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_error: Closure<dyn FnMut(Event)>,
}

impl Client {
    /// Starts a worker; `receive` gets every message, and an `Error` without id where the worker itself fails.
    pub fn start(receive: impl Fn(FromWorker) + 'static) -> Result<Self, ErrorBody> {
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        let worker = Worker::new_with_options(SCRIPT, &options)
            .map_err(|error| ErrorBody::new("WorkerError", format!("The engine's worker could not be started: {error:?}")))?;
        let receive = Rc::new(receive);
        let early = Rc::new(RefCell::new(Some(Vec::new())));

        let (hand_on, waiting, port) = (receive.clone(), early.clone(), worker.clone());
        let on_message = Closure::new(move |event: MessageEvent| match decode(&event.data()) {
            Some(message) => {
                if matches!(message, FromWorker::Ready { .. }) {
                    for early in waiting.borrow_mut().take().into_iter().flatten() {
                        // A message that could be queued can be posted: both are plain data.
                        let _ = port.post_message(&early);
                    }
                }
                hand_on(message);
            }
            None => web_sys::console::warn_2(&"a message of the worker that this page does not know:".into(), &event.data()),
        });
        let on_error = Closure::new(move |event: Event| {
            let why = event.dyn_ref::<ErrorEvent>().map(ErrorEvent::message).filter(|why| !why.is_empty());
            let why = why.unwrap_or_else(|| "its script could not be fetched or read".into());
            let error = ErrorBody::new("WorkerError", format!("The engine's worker failed: {why}."));
            receive(FromWorker::Error { id: None, error });
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        Ok(Self { worker, early, _on_message: on_message, _on_error: on_error })
    }

    /// Posts a message, with `files` beside it where there are any.
    pub fn post(&self, message: &ToWorker, files: &[File]) {
        let Some(value) = encode(message, files) else { return };
        match self.early.borrow_mut().as_mut() {
            Some(early) => early.push(value),
            None => {
                let _ = self.worker.post_message(&value);
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.terminate();
    }
}

fn decode(data: &JsValue) -> Option<FromWorker> {
    let json = String::from(JSON::stringify(data).ok()?);
    serde_json::from_str(&json).ok()
}

fn encode(message: &ToWorker, files: &[File]) -> Option<JsValue> {
    let value = JSON::parse(&serde_json::to_string(message).ok()?).ok()?;
    if !files.is_empty() {
        Reflect::set(&value, &"files".into(), &files.iter().collect::<Array>()).ok()?;
    }
    Some(value)
}
