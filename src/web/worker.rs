//! The worker's end of the protocol: messages in, one job at a time, messages out.

use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::rc::Rc;

use js_sys::{Array, JSON, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::{Blob, DedicatedWorkerGlobalScope, MessageEvent};

use super::bridge::{Origin, Slot, Stop};
use super::queue::{Place, Queue};
use super::speed::Speed;
use crate::api::protocol::{ErrorBody, FromWorker, LoadOptions, LoadPhase, ToWorker};
use crate::api::request::ChatRequest;

/// What waits in the queue.
enum Job {
    Load(Origin, LoadOptions),
    Chat(Box<ChatRequest>),
    Unload,
}

#[derive(Default)]
struct Worker {
    queue: RefCell<Queue<Job>>,
    slot: Slot,
    /// Stops the job being worked on.
    stop: RefCell<Option<Stop>>,
}

/// Listens to messages, and says `ready`.
pub fn start() {
    std::panic::set_hook(Box::new(on_panic));
    let worker = Rc::new(Worker::default());
    let listener = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| worker.receive(&event.data()));
    scope().set_onmessage(Some(listener.into_js_value().unchecked_ref()));
    post(&FromWorker::Ready { version: env!("CARGO_PKG_VERSION").into() });
}

/// After a panic nothing in this worker can be trusted: whoever uses it learns that everything open is lost.
fn on_panic(info: &PanicHookInfo<'_>) {
    let message = format!("Kinglet's engine stopped at a bug ({info}). Load the model again, and please report this.");
    post(&FromWorker::Error { id: None, error: ErrorBody::new("WorkerError", message) });
}

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

fn post(message: &FromWorker) {
    let value = serde_json::to_string(message).ok().and_then(|json| JSON::parse(&json).ok());
    if let Some(value) = value {
        // Plain data can always be posted.
        let _ = scope().post_message(&value);
    }
}

/// The blobs beside a message: `files`, or a single `file`.
fn blobs(data: &JsValue) -> Vec<Blob> {
    let get = |name: &str| Reflect::get(data, &name.into()).unwrap_or(JsValue::UNDEFINED);
    let files = get("files");
    let files = if files.is_undefined() { Array::of1(&get("file")) } else { Array::from(&files) };
    files.iter().filter_map(|file| file.dyn_into::<Blob>().ok()).collect()
}

fn fail(id: u64, error: ErrorBody) {
    // A lost device takes everything with it, not only this request.
    let id = Some(id).filter(|_| error.name != "DeviceLostError");
    post(&FromWorker::Error { id, error });
}

impl Worker {
    fn receive(self: &Rc<Self>, data: &JsValue) {
        let json = JSON::stringify(data).map(String::from).unwrap_or_default();
        let message = match serde_json::from_str(&json) {
            Ok(message) => message,
            Err(error) => {
                let id = Reflect::get(data, &"id".into()).ok().and_then(|id| id.as_f64());
                let error = ErrorBody::new("InvalidRequestError", format!("The worker does not understand this message: {error}."));
                return fail(id.unwrap_or_default() as u64, error);
            }
        };
        match message {
            ToWorker::Load { id, url, options } => {
                let files = blobs(data);
                match url.map(Origin::Url).or(Some(Origin::Files(files.clone())).filter(|_| !files.is_empty())) {
                    Some(origin) => self.push(id, Job::Load(origin, options)),
                    None => fail(id, ErrorBody::new("InvalidRequestError", "A load needs a `url`, or Blobs as `files`.")),
                }
            }
            // Checked at once, so that a request that cannot be answered need not wait to learn it.
            ToWorker::Chat { id, request } => match ChatRequest::try_from(request) {
                Ok(request) => self.push(id, Job::Chat(Box::new(request))),
                Err(error) => fail(id, ErrorBody::from(&error)),
            },
            ToWorker::Abort { id } => self.abort(id),
            ToWorker::Unload { id } => {
                for waiting in self.queue.borrow_mut().drain() {
                    fail(waiting, ErrorBody::abort());
                }
                self.stop();
                self.push(id, Job::Unload);
            }
        }
    }

    fn push(self: &Rc<Self>, id: u64, job: Job) {
        if self.queue.borrow_mut().push(id, job) {
            spawn_local(self.clone().work());
        }
    }

    fn abort(&self, id: u64) {
        let place = self.queue.borrow_mut().abort(id);
        match place {
            Place::Waiting => fail(id, ErrorBody::abort()),
            Place::Running => self.stop(),
            Place::Nowhere => {}
        }
    }

    fn stop(&self) {
        if let Some(stop) = &*self.stop.borrow() {
            stop.raise();
        }
    }

    /// Works through the queue until it is empty.
    async fn work(self: Rc<Self>) {
        loop {
            let next = self.queue.borrow_mut().next();
            let Some((id, job)) = next else { return };
            let Some(stop) = Stop::new() else {
                fail(id, ErrorBody::new("WorkerError", "This browser has no AbortController."));
                continue;
            };
            self.stop.replace(Some(stop.clone()));
            let result = match job {
                Job::Load(origin, options) => self.load(id, origin, &options, &stop).await,
                Job::Chat(request) => self.chat(id, &request, &stop).await,
                Job::Unload => {
                    self.slot.unload();
                    Ok(FromWorker::Unloaded { id })
                }
            };
            match result {
                Ok(message) => post(&message),
                Err(error) => fail(id, error),
            }
        }
    }

    async fn load(&self, id: u64, origin: Origin, options: &LoadOptions, stop: &Stop) -> Result<FromWorker, ErrorBody> {
        let mut speed = Speed::default();
        let mut told: Option<LoadPhase> = None;
        let mut report = |phase: LoadPhase, loaded: u64, total: Option<u64>| {
            let now = js_sys::Date::now();
            let due = speed.mark(now, loaded);
            // A new phase and the last byte are always told.
            if !due && told == Some(phase) && total != Some(loaded) {
                return;
            }
            told = Some(phase);
            let bytes_per_second = if phase == LoadPhase::Compile { 0.0 } else { speed.rate() };
            post(&FromWorker::Progress { id, phase, loaded, total, bytes_per_second });
        };
        let info = self.slot.load(origin, options, stop, &mut report).await?;
        Ok(FromWorker::Loaded { id, info })
    }

    async fn chat(&self, id: u64, request: &ChatRequest, stop: &Stop) -> Result<FromWorker, ErrorBody> {
        let stream = request.stream;
        let mut on_chunk = |chunk| {
            if stream {
                post(&FromWorker::Chunk { id, chunk });
            }
        };
        let reply = self.slot.chat(request, stop, &mut on_chunk).await?;
        Ok(FromWorker::Done { id, reply })
    }
}
