//! The one place that knows the engine's API: a load, a chat and an unload in the protocol's terms.

use std::cell::{Cell, RefCell};

use web_sys::{AbortController, Blob};

use super::source::{Picked, Site};
use super::{gpu_shim, heap, tuning};
use crate::api;
use crate::api::protocol::{EngineInfo, ErrorBody, KvType, LoadOptions, LoadPhase, Quantize, Tier};
use crate::api::request::ChatRequest;
use crate::api::types::{ChatChunk, ChatReply, ReplyHead};
use crate::engine::{self, AbortSignal, Engine, Error, Phase, Progress};
use crate::gpu::{self, Gpu};
use crate::model::{Measure, TuningOptions};
use crate::text::{LocalTime, RenderOptions};
use crate::weights::convert;
use crate::weights::files::{Address, Files, PartName, open_model};
use crate::weights::source::Source;

/// Where a model comes from.
#[derive(Debug)]
pub enum Origin {
    /// An absolute URL, of a file or (ending in `/`) of a folder.
    Url(String),
    /// Files of the user's: one, all parts of one, or those of a Hugging Face model.
    Files(Vec<Blob>),
}

/// Stops one running job: its computing, and its waiting for the network.
#[derive(Debug, Clone)]
pub struct Stop {
    signal: AbortSignal,
    fetches: AbortController,
}

impl Stop {
    /// Not raised. `None` where the browser has no `AbortController`, which none with WebGPU lacks.
    pub fn new() -> Option<Self> {
        Some(Self { signal: AbortSignal::new(), fetches: AbortController::new().ok()? })
    }

    /// Stops the job.
    pub fn raise(&self) {
        self.signal.abort();
        self.fetches.abort();
    }
}

/// How far a load has come: what it does, of how many bytes how many.
pub type Report<'a> = &'a mut dyn FnMut(LoadPhase, u64, Option<u64>);

/// The engine, where a model is loaded.
#[derive(Default)]
pub struct Slot {
    engine: RefCell<Option<Engine>>,
    name: RefCell<String>,
    answers: Cell<u64>,
}

impl Slot {
    /// Loads a model in place of the one that is there.
    pub async fn load(
        &self,
        origin: Origin,
        options: &LoadOptions,
        stop: &Stop,
        report: Report<'_>,
    ) -> Result<EngineInfo, ErrorBody> {
        // First of all, so that never two models are on the GPU.
        self.unload();
        let began = js_sys::Date::now();
        let tier = options.tier.map(|tier| match tier {
            Tier::APlus => gpu::Tier::APlus,
            Tier::A => gpu::Tier::A,
            Tier::B => gpu::Tier::B,
            Tier::C => gpu::Tier::C,
        });
        let (gpu, adapter) = gpu_shim::open(tier).await.map_err(|error| error_body(&error.into(), stop))?;
        let result = match origin {
            Origin::Url(url) => {
                let (address, file) = Address::of(&url);
                let folder = address.name().to_owned();
                load_from(gpu, &mut Site::new(address, stop.fetches.signal()), file, &folder, options, stop, report).await
            }
            Origin::Files(blobs) => {
                let mut picked = Picked::new(blobs);
                let (file, folder) = (picked.entry(), picked.folder());
                load_from(gpu, &mut picked, file, &folder, options, stop, report).await
            }
        };
        let (engine, file_name) = result.map_err(|error| error_body(&error, stop))?;
        let info = describe(&engine, &file_name, adapter, (js_sys::Date::now() - began) / 1e3);
        self.name.replace(info.model.clone());
        self.engine.replace(Some(engine));
        Ok(info)
    }

    /// Answers a conversation.
    pub async fn chat(
        &self,
        request: &ChatRequest,
        stop: &Stop,
        on_chunk: &mut dyn FnMut(ChatChunk),
    ) -> Result<ChatReply, ErrorBody> {
        // Taken out while it works: an await must not hold a borrow.
        let Some(mut engine) = self.engine.take() else {
            return Err(ErrorBody::new("ModelNotLoadedError", "No model is loaded: load one first."));
        };
        let answer = self.answers.get() + 1;
        self.answers.set(answer);
        let created = js_sys::Date::now();
        let head = ReplyHead {
            id: format!("chatcmpl-{:x}-{answer}", created as u64),
            created: (created / 1e3) as u64,
            model: self.name.borrow().clone(),
        };
        let seed = (js_sys::Math::random() * f64::from(u32::MAX)) as u64;
        let options = RenderOptions { now: Some(now()), ..RenderOptions::default() };
        let result = api::chat(&mut engine, request, &head, seed, &options, on_chunk, &stop.signal).await;
        self.engine.replace(Some(engine));
        result.map_err(|error| error_body(&error, stop))
    }

    /// Frees the model; nothing happens where there is none.
    pub fn unload(&self) {
        drop(self.engine.take());
    }
}

async fn load_from(
    gpu: Gpu,
    files: &mut impl Files,
    file: Option<String>,
    folder: &str,
    options: &LoadOptions,
    stop: &Stop,
    report: Report<'_>,
) -> Result<(Engine, String), Error> {
    let kv_type = match options.kv_type {
        None | Some(KvType::F16) => crate::kernels::KvType::F16,
        Some(KvType::F32) => crate::kernels::KvType::F32,
        Some(KvType::Q8_0) => crate::kernels::KvType::Q8_0,
        Some(KvType::Q4_0) => crate::kernels::KvType::Q4_0,
    };
    let quantize = match options.quantize {
        None | Some(Quantize::None) => convert::Quantize::None,
        Some(Quantize::Q8_0) => convert::Quantize::Q8_0,
        Some(Quantize::Q4_0) => convert::Quantize::Q4_0,
        Some(Quantize::Q4K) => convert::Quantize::Q4K,
    };
    report(LoadPhase::Header, 0, None);
    let mut model = open_model(files, file.as_deref(), folder, quantize).await?;
    let name = model.source.name().to_owned();
    let mut progress = |Progress { phase, loaded, total }| {
        let phase = match phase {
            Phase::Header => LoadPhase::Header,
            Phase::Weights => LoadPhase::Weights,
            Phase::Compile => LoadPhase::Compile,
        };
        report(phase, loaded, total);
    };
    let exact = options.exact.unwrap_or(false);
    let measure = if options.tune == Some(false) { Measure::Never } else { Measure::Gpus };
    let stored = if measure == Measure::Never { None } else { tuning::stored(&gpu, exact).await };
    let tuning = TuningOptions { stored, measure, exact };
    let options = engine::LoadOptions { context: options.context, kv_type, tuning };
    let engine = Engine::load_opened(gpu, model.gguf, &mut model.source, options, &mut progress, &stop.signal).await?;
    tuning::keep(engine.gpu(), exact, engine.model().tuning(), engine.model().tuned_by()).await;
    Ok((engine, name))
}

fn describe(engine: &Engine, file_name: &str, adapter: gpu_shim::Adapter, load_s: f64) -> EngineInfo {
    let (config, device) = (engine.config(), engine.gpu().info());
    let mut notices = Vec::new();
    if adapter.about.software || device.kind == "cpu" {
        notices.push("This browser computes WebGPU on the CPU here, which is slow: check that hardware acceleration is on.".into());
    }
    if engine.context() < config.context {
        let (used, trained) = (engine.context(), config.context);
        notices.push(format!("The context is {used} tokens of the {trained} that the model was trained with."));
    }
    EngineInfo {
        // The file's name says more than `general.name`, which converters fill as they like.
        model: match PartName::parse(file_name) {
            Some(part) => part.stem.to_owned(),
            None if file_name.is_empty() => config.name.clone(),
            None => file_name.trim_end_matches(".gguf").to_owned(),
        },
        architecture: config.architecture.clone(),
        context: engine.context(),
        vocab_size: config.vocab,
        quantization: engine.quantization().map_or_else(String::new, |kind| kind.name().to_owned()),
        parameters: engine.parameters(),
        adapter: if adapter.name.is_empty() { device.name.clone() } else { adapter.name },
        tier: device.tier.clone(),
        subgroups: device.subgroups,
        subgroup_sizes: device.subgroup_sizes,
        f16: device.f16,
        int8_dot: device.int8_dot,
        tuned_by: engine.model().tuned_by().name().into(),
        weight_bytes: engine.model().weight_bytes(),
        gpu_bytes: engine.gpu().memory().current,
        wasm_peak_bytes: heap::peak_bytes(),
        load_s,
        notices,
    }
}

/// The user's clock, for templates that state the date.
fn now() -> LocalTime {
    let date = js_sys::Date::new_0();
    LocalTime::from_unix((date.get_time() / 1e3 - 60.0 * date.get_timezone_offset()) as i64)
}

/// An abort shows as whatever it interrupted; the caller asked for it and is told just that.
fn error_body(error: &Error, stop: &Stop) -> ErrorBody {
    if stop.signal.is_aborted() { ErrorBody::abort() } else { ErrorBody::new(error.name(), error.to_string()) }
}
