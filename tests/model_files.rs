//! Models that are not one GGUF file: in parts they answer as the same model in one file does, bit for bit; as Hugging Face's libraries
//! save them they answer as transformers does (`oracle/hf_tiny.py`).

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[path = "common/gpu.rs"]
mod gpu;
#[allow(dead_code, reason = "only its type of weights is used")]
#[path = "common/reference.rs"]
mod reference;
#[allow(dead_code, reason = "every test uses its own part")]
#[path = "common/tiny.rs"]
mod tiny;
#[path = "common/weights.rs"]
mod weights;

use ggufwriter::GgufWriter;
use gpu::open_both;
use kinglet::engine::{AbortSignal, Cost, Engine, Error, LoadOptions, Phase};
use kinglet::gpu::Gpu;
use kinglet::kernels::{Format, KvType};
use kinglet::model::ModelConfig;
use kinglet::weights::convert::Quantize;
use kinglet::weights::files::{Folder, Layout, open_gguf, open_model};
use kinglet::weights::source::MemorySource;
use pollster::block_on;
use std::path::{Path, PathBuf};
use tiny::Tiny;

fn options() -> LoadOptions {
    LoadOptions { kv_type: KvType::F32, ..LoadOptions::default() }
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("files").join(name);
    std::fs::create_dir_all(&folder).expect("a folder for files");
    folder
}

fn logits(engine: &mut Engine) -> Vec<u32> {
    let mut logits = Vec::new();
    let ids: Vec<u32> = (0..23).map(|i| i * 7 % 256).collect();
    block_on(engine.logits(&ids, &mut |_, row| logits.extend(row.iter().map(|x| x.to_bits())))).expect("logits");
    logits
}

/// The tensors of `file` dealt out to `count` files in `folder`.
fn split(file: &GgufWriter, count: usize, folder: &Path) {
    for number in 0..count {
        let mut part = if number == 0 { file.clone() } else { GgufWriter::new() };
        part.tensors.clear();
        part = part.u16("split.no", number as u16).u16("split.count", count as u16);
        part = part.i32("split.tensors.count", file.tensors.len() as i32);
        let run = file.tensors.len().div_ceil(count);
        part.tensors.extend(file.tensors.iter().skip(number * run).take(run).cloned());
        let name = format!("tiny-{:05}-of-{count:05}.gguf", number + 1);
        std::fs::write(folder.join(name), part.bytes()).expect("a part is written");
    }
}

fn load_split(gpu: &Gpu, folder: &Path, name: &str) -> Engine {
    let mut opened = block_on(open_gguf(&mut Folder::new(folder), name)).expect("the parts open");
    assert_eq!(opened.layout, Layout::Split(3));
    let mut told = Vec::new();
    let mut progress = |progress: kinglet::engine::Progress| told.push(progress);
    let abort = AbortSignal::new();
    let engine = block_on(Engine::load_opened(gpu.clone(), opened.gguf, &mut opened.source, options(), &mut progress, &abort));
    let last = told.iter().rfind(|progress| progress.phase == Phase::Weights).expect("progress");
    assert_eq!(Some(last.loaded), last.total);
    engine.expect("the parts load")
}

#[test]
fn a_split_model_answers_as_the_whole_one() {
    let folder = folder("split");
    let (file, _) = Tiny { formats: [Format::Q8_0, Format::F16, Format::Q4_0], ..Tiny::default() }.file(5);
    split(&file, 3, &folder);
    for gpu in open_both() {
        let mut source = MemorySource::new("tiny.gguf", file.bytes());
        let whole = block_on(Engine::load(gpu.clone(), &mut source, options(), &mut |_| {}, &AbortSignal::new()));
        let whole = logits(&mut whole.expect("the whole model loads"));
        for name in ["tiny-00001-of-00003.gguf", "tiny-00003-of-00003.gguf"] {
            assert!(logits(&mut load_split(&gpu, &folder, name)) == whole, "{name}");
        }
    }
    // A part that comes without a way to find the others is told so.
    let part = std::fs::read(folder.join("tiny-00001-of-00003.gguf")).expect("a part");
    let mut source = MemorySource::new("tiny-00001-of-00003.gguf", part);
    let gpu = open_both().into_iter().next().expect("an adapter");
    let error =
        block_on(Engine::load(gpu, &mut source, options(), &mut |_| {}, &AbortSignal::new())).expect_err("a part is no model");
    assert!(error.to_string().contains("one of 3 parts"), "{error}");
}

/// Where `oracle/hf_tiny.py` wrote its models.
fn saved(name: &str) -> Folder {
    Folder::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hf").join(name))
}

fn load_saved(gpu: &Gpu, name: &str, quantize: Quantize) -> Result<Engine, Error> {
    let mut opened = block_on(open_model(&mut saved(name), None, name, quantize))?;
    let config = ModelConfig::from_gguf(&opened.gguf.metadata, &opened.gguf.tensors)?;
    // All of it: transformers' LongRoPE goes by the prompt, which is longer than the original context.
    let options = LoadOptions { context: Some(config.context), ..options() };
    block_on(Engine::load_opened(gpu.clone(), opened.gguf, &mut opened.source, options, &mut |_| {}, &AbortSignal::new()))
}

/// The logits at every position of the golden prompt.
fn rows(engine: &mut Engine) -> (Vec<Vec<f32>>, serde_json::Value) {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hf/golden.json")).expect("the golden");
    let golden: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let ids: Vec<u32> = golden["prompt"].as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect();
    let mut rows = Vec::new();
    block_on(engine.logits(&ids, &mut |_, row| rows.push(row.to_vec()))).expect("logits");
    (rows, golden)
}

/// How far the last logits are off those of transformers; the likeliest token must agree everywhere.
fn off(engine: &mut Engine, name: &str) -> f64 {
    let (rows, golden) = rows(engine);
    let golden = &golden["models"][name];
    let wanted: Vec<f64> = golden["last"].as_array().expect("logits").iter().map(|x| x.as_f64().expect("a number")).collect();
    let likeliest = |row: &Vec<f32>| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("a row") as u64;
    let found: Vec<u64> = rows.iter().map(likeliest).collect();
    assert_eq!(serde_json::json!(found), golden["argmax"], "{name}");
    let last = rows.last().expect("a row");
    assert_eq!(last.len(), wanted.len());
    last.iter().zip(wanted).map(|(found, wanted)| (f64::from(*found) - wanted).abs()).fold(0.0, f64::max)
}

/// transformers rounds its logits to six digits here, and both sides compute in f32.
const TOLERANCE: f64 = 1e-5;

#[test]
fn a_saved_llama_answers_as_transformers_does() {
    for gpu in open_both() {
        let mut engine = load_saved(&gpu, "llama", Quantize::None).expect("the model loads");
        let off = off(&mut engine, "llama");
        assert!(off < TOLERANCE, "off by {off}");
    }
}

#[test]
fn other_saved_families_answer_as_transformers_does() {
    let [gpu, _] = open_both();
    let names = ["qwen2", "gemma2", "mixtral", "yarn", "linear", "mistral", "gemma", "granite", "stablelm", "olmoe", "phi3"];
    for name in names {
        let mut engine = load_saved(&gpu, name, Quantize::None).expect("the model loads");
        let off = off(&mut engine, name);
        assert!(off < TOLERANCE, "{name} is off by {off}");
    }
}

#[test]
fn quantizing_on_the_way_is_loading_the_quantized_file() {
    let folder = folder("quantize");
    let name = "tiny.gguf";
    let (plain, _) = Tiny { formats: [Format::F16, Format::BF16, Format::F32], tied: false, ..Tiny::default() }.file(9);
    std::fs::write(folder.join(name), plain.bytes()).expect("a file is written");
    let [gpu, _] = open_both();
    let load = |name: &str, quantize| {
        let mut opened = block_on(open_model(&mut Folder::new(&folder), Some(name), "", quantize)).expect("the file opens");
        let kinds: Vec<&str> = opened.gguf.tensors.iter().map(|tensor| tensor.kind.name()).collect();
        let count = |kind: &str| kinds.iter().filter(|found| **found == kind).count();
        let counts = [count("Q8_0"), count("Q4_0"), count("F32")];
        let mut told = None;
        let mut progress = |progress: kinglet::engine::Progress| {
            if progress.phase == Phase::Weights {
                told = Some(progress);
            }
        };
        let abort = AbortSignal::new();
        let engine = Engine::load_opened(gpu.clone(), opened.gguf, &mut opened.source, options(), &mut progress, &abort);
        let mut engine = block_on(engine).expect("the file loads");
        let told = told.expect("progress");
        assert_eq!(Some(told.loaded), told.total);
        (logits(&mut engine), engine.model().weight_bytes(), counts)
    };
    let (whole, whole_bytes, _) = load(name, Quantize::None);
    // Two layers of seven matrices, the embedding and the head; five norms.
    let (q8, q8_bytes, counts) = load(name, Quantize::Q8_0);
    assert_eq!(counts, [16, 0, 5]);
    let (q4, q4_bytes, counts) = load(name, Quantize::Q4_0);
    assert_eq!(counts, [1, 15, 5]);
    assert!(q4_bytes < q8_bytes && q8_bytes < whole_bytes / 2, "{whole_bytes} {q8_bytes} {q4_bytes}");
    // What was quantized on the way is what was written so.
    let mut written = plain.clone();
    for tensor in &mut written.tensors {
        if tensor.dims.len() == 2 {
            let from = kinglet::weights::gguf::TensorType::from_id(tensor.kind).expect("a type");
            let to = kinglet::weights::gguf::TensorType::Q8_0;
            let mut bytes = Vec::new();
            kinglet::weights::convert::Conversion { from, to, add: 0.0 }.apply(&tensor.data, &mut bytes);
            (tensor.kind, tensor.data) = (to.id(), bytes);
        }
    }
    std::fs::write(folder.join("written.gguf"), written.bytes()).expect("a file is written");
    assert!(load("written.gguf", Quantize::Q4_0).0 == q8, "what is quantized already stays");
    let far = |a: &[u32], b: &[u32]| {
        let pairs = a.iter().zip(b).map(|(a, b)| f64::from(f32::from_bits(*a) - f32::from_bits(*b)).powi(2));
        let size = a.iter().map(|a| f64::from(f32::from_bits(*a)).powi(2)).sum::<f64>();
        (pairs.sum::<f64>() / size).sqrt()
    };
    let (near, further) = (far(&whole, &q8), far(&whole, &q4));
    assert!(near > 0.0 && near < 0.05 && further > 5.0 * near && further < 1.0, "{near} {further}");
}

#[test]
fn a_models_cost_is_known_before_it_is_loaded() {
    let [gpu, _] = open_both();
    // q and k are stored as v is, and gate as up is; or gate and up are apart.
    let mixed = Tiny { formats: [Format::Q5_0, Format::Q8_0, Format::F32], feed_forward: 512, ..Tiny::default() };
    let gated = Tiny { formats: [Format::Q4_0; 3], up_format: Some(Format::Q5_0), vocab: 8000, ..Tiny::default() };
    let apart = Tiny { up_format: Some(Format::F16), ..Tiny::default() };
    let folder = folder("costs");
    // More than is reserved at first.
    let long = Tiny { context: 9000, ..Tiny::default() };
    for (name, tiny) in [("mixed.gguf", mixed), ("gated.gguf", gated), ("apart.gguf", apart), ("long.gguf", long)] {
        std::fs::write(folder.join(name), tiny.build(7).0).expect("a file is written");
    }
    let open = |name: &str| match name.strip_suffix(".gguf") {
        Some(_) => block_on(open_model(&mut Folder::new(&folder), Some(name), "", Quantize::None)),
        None => block_on(open_model(&mut saved(name), None, name, Quantize::None)),
    };
    for name in ["llama", "gemma2", "mixtral", "phi3", "mistral", "mixed.gguf", "gated.gguf", "apart.gguf", "long.gguf"] {
        let mut opened = open(name).expect("the model opens");
        let config = ModelConfig::from_gguf(&opened.gguf.metadata, &opened.gguf.tensors).expect("a known family");
        let cost = Cost::of(&config, &opened.gguf.tensors, config.default_context(), KvType::F32);
        let before = gpu.memory().current;
        let abort = AbortSignal::new();
        let mut ignore = |_| {};
        let engine = Engine::load_opened(gpu.clone(), opened.gguf, &mut opened.source, options(), &mut ignore, &abort);
        let engine = block_on(engine).expect("the model loads");
        let weights = engine.model().weight_bytes();
        let off = cost.weight_bytes().abs_diff(weights) as f64 / weights as f64;
        assert!(off < 0.02, "{name}: weights of {weights} bytes should be {}", cost.weight_bytes());
        // All but the staging buffer, which is gone again, and what every engine has.
        let held = gpu.memory().current - before;
        let expected = cost.loaded_bytes() - cost.staging_bytes;
        let off = expected.abs_diff(held) as f64 / held as f64;
        assert!(off < 0.02, "{name}: {held} bytes should be {expected}");
        let mut engine = engine;
        block_on(engine.model_mut().reserve(config.context)).expect("there is room");
        assert_eq!((engine.model().kv_bytes(), engine.model().reserved()), (cost.kv_bytes, engine.context()), "{name}");
    }
}
