//! Models of several files: they answer as the same model in one file does, bit for bit.

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
use kinglet::engine::{AbortSignal, Engine, LoadOptions, Phase};
use kinglet::gpu::Gpu;
use kinglet::kernels::{Format, KvType};
use kinglet::weights::files::{Folder, Layout, open_gguf};
use kinglet::weights::source::MemorySource;
use pollster::block_on;
use std::path::{Path, PathBuf};
use tiny::Tiny;

const OPTIONS: LoadOptions = LoadOptions { context: None, kv_type: KvType::F32 };

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
    let engine = block_on(Engine::load_opened(gpu.clone(), opened.gguf, &mut opened.source, OPTIONS, &mut progress, &abort));
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
        let whole = block_on(Engine::load(gpu.clone(), &mut source, OPTIONS, &mut |_| {}, &AbortSignal::new()));
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
        block_on(Engine::load(gpu, &mut source, OPTIONS, &mut |_| {}, &AbortSignal::new())).expect_err("a part is no model");
    assert!(error.to_string().contains("one of 3 parts"), "{error}");
}
