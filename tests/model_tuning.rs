//! Self-tuning on a tiny model: what is measured, kept and left alone.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[path = "common/gpu.rs"]
mod gpu;
#[path = "common/reference.rs"]
#[allow(dead_code, reason = "shared by the tests of tiny models")]
mod reference;
#[path = "common/tiny.rs"]
#[allow(dead_code, reason = "shared by the tests of tiny models")]
mod tiny;
#[path = "common/weights.rs"]
mod weights;

use kinglet::engine::{AbortSignal, Engine, Error, LoadOptions, Phase};
use kinglet::gpu::{AdapterChoice, Gpu, GpuError, GpuOptions, Tier};
use kinglet::kernels::{Arithmetic, KvType, Variants};
use kinglet::model::{Measure, TunedBy, Tuning, TuningOptions};
use kinglet::weights::source::MemorySource;
use pollster::block_on;
use tiny::Tiny;

fn load(gpu: &Gpu, tuning: TuningOptions) -> Engine {
    let (bytes, _) = Tiny::default().build(1);
    let mut source = MemorySource::new("tiny.gguf", bytes);
    let options = LoadOptions { kv_type: KvType::F32, tuning, ..LoadOptions::default() };
    block_on(Engine::load(gpu.clone(), &mut source, options, &mut |_| {}, &AbortSignal::new())).expect("the tiny model loads")
}

fn logits(engine: &mut Engine) -> Vec<f32> {
    let mut all = Vec::new();
    block_on(engine.logits(&[1, 2, 3, 4, 5], &mut |_, row| all.extend_from_slice(row))).expect("logits");
    all
}

fn tuned(engine: &Engine) -> (TunedBy, &Tuning) {
    (engine.model().tuned_by(), engine.model().tuning())
}

fn everywhere(stored: &Tuning) -> TuningOptions {
    TuningOptions { stored: Some(stored.clone()), measure: Measure::Everywhere, ..TuningOptions::default() }
}

#[test]
fn what_is_measured_is_kept_and_changes_no_answer() {
    for gpu in gpu::open_both() {
        let mut plain = load(&gpu, TuningOptions::default());
        let table = Tuning::table(gpu.info(), gpu.capabilities());
        assert_eq!(tuned(&plain), (TunedBy::Table, &table));

        let mut measured = load(&gpu, TuningOptions { measure: Measure::Everywhere, ..TuningOptions::default() });
        assert_eq!(measured.model().tuned_by(), TunedBy::Measured);
        // What one load has no time for, the next ones measure.
        let mut tuning = measured.model().tuning().clone();
        let mut loads = 0;
        while measured.model().tuned_by() == TunedBy::Measured {
            loads += 1;
            assert!(loads < 30, "{tuning:?}");
            measured = load(&gpu, everywhere(&tuning));
            assert!(measured.model().tuning().shapes.starts_with(&tuning.shapes));
            tuning = measured.model().tuning().clone();
        }
        assert!(!tuning.shapes.is_empty());
        // Without subgroups there is only one way.
        assert_eq!(tuning.attention_tilings.len(), usize::from(gpu.capabilities().subgroups));
        let off = logits(&mut plain).iter().zip(logits(&mut measured)).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(off < 1e-3, "off by {off}");

        // Everything is known: nothing is measured again.
        assert_eq!(tuned(&load(&gpu, everywhere(&tuning))), (TunedBy::Stored, &tuning));

        // What is missing is measured, the rest stays.
        let mut part = tuning.clone();
        let (missing, _) = part.shapes.remove(0);
        let again = load(&gpu, everywhere(&part));
        let (by, all) = tuned(&again);
        assert_eq!((by, &all.shapes[..part.shapes.len()]), (TunedBy::Measured, &part.shapes[..]));
        assert_eq!(all.shapes.last().map(|(shape, _)| shape), Some(&missing));

        // Attention has its turn when all products are known.
        let part = Tuning { attention_tilings: Vec::new(), ..tuning.clone() };
        let again = load(&gpu, everywhere(&part));
        let (by, all) = tuned(&again);
        let shapes = |tuning: &Tuning| tuning.attention_tilings.iter().map(|(shape, _)| shape.clone()).collect::<Vec<_>>();
        assert_eq!((by == TunedBy::Measured, shapes(all)), (gpu.capabilities().subgroups, shapes(&tuning)));
    }
}

/// What happens when the weights are there and measuring begins.
fn interrupted(gpu: &Gpu, interrupt: &dyn Fn(&AbortSignal)) -> Error {
    let (bytes, _) = Tiny::default().build(1);
    let mut source = MemorySource::new("tiny.gguf", bytes);
    let tuning = TuningOptions { measure: Measure::Everywhere, ..TuningOptions::default() };
    let (options, abort) = (LoadOptions { tuning, ..LoadOptions::default() }, AbortSignal::new());
    let mut progress = |progress: kinglet::engine::Progress| {
        if progress.phase == Phase::Compile {
            interrupt(&abort);
        }
    };
    block_on(Engine::load(gpu.clone(), &mut source, options, &mut progress, &abort)).expect_err("it was interrupted")
}

#[test]
fn measuring_ends_with_an_abort_and_with_the_device() {
    let gpu = gpu::open();
    assert!(matches!(interrupted(&gpu, &|abort| abort.abort()), Error::Aborted));
    // No product was compiled, let alone measured.
    let names: Vec<&str> = gpu.pipelines().iter().map(|pipeline| pipeline.name()).collect();
    assert!(names.contains(&"repack") && !names.iter().any(|name| name.starts_with("mat")), "{names:?}");
    let error = interrupted(&gpu, &|_| gpu.destroy());
    assert!(matches!(error, Error::Gpu(GpuError::DeviceLost { .. })), "{error:?}");
}

#[test]
fn a_software_gpu_is_not_measured_unless_that_is_wanted() {
    let gpu = gpu::open();
    if gpu.info().kind != "cpu" {
        return;
    }
    let engine = load(&gpu, TuningOptions { measure: Measure::Gpus, ..TuningOptions::default() });
    assert_eq!(engine.model().tuned_by(), TunedBy::Table);
}

#[test]
fn exact_answers_have_no_product_of_8_bits() {
    let mut start = Variants::default();
    (start.matvec.arithmetic, start.matmul.arithmetic) = (Arithmetic::Int8, Arithmetic::Int8);
    let stored = Tuning { start, ..Tuning::default() };
    let a_plus = AdapterChoice { name: None, tier: Some(Tier::APlus) };
    // Where there is no f16 there is no such tier.
    let Ok(gpu) = block_on(Gpu::open(GpuOptions { adapter: a_plus, ..GpuOptions::default() })) else { return };
    let options = |exact| TuningOptions { stored: Some(stored.clone()), exact, measure: Measure::Never };
    assert_eq!(load(&gpu, options(false)).model().tuning().start, start);
    let mut exact = load(&gpu, options(true));
    assert_eq!(exact.model().tuning().start.matvec.arithmetic, Arithmetic::F32);
    assert_eq!(
        logits(&mut exact),
        logits(&mut load(&gpu, TuningOptions { stored: Some(Tuning::default()), ..TuningOptions::default() }))
    );
}

#[test]
fn a_key_names_device_tier_and_kernels() {
    let gpu = gpu::open();
    let key = Tuning::key(&gpu, false);
    assert!(key.contains(&gpu.info().name) && key.contains(&gpu.info().driver), "{key}");
    let c = AdapterChoice { name: None, tier: Some(Tier::C) };
    let c = block_on(Gpu::open(GpuOptions { adapter: c, ..GpuOptions::default() })).expect("tier C");
    assert!(gpu.info().tier == "c" || Tuning::key(&c, false) != key);
}
