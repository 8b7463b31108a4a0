//! `kinglet shaders`: every shader of a loaded model as a file, and `plan.json`, which says what a step does with them.

use super::args::ShadersArgs;
use super::exit::Failure;
use super::model::ModelFile;
use super::output;
use super::steps::Step;
use kinglet::gpu::{Pipeline, Ran, Tier};
use kinglet::model::{Measure, Tuning, TuningOptions};
use serde::Serialize;
use std::path::Path;
use std::rc::Rc;

#[derive(Serialize)]
struct Plan {
    model: String,
    adapter: String,
    tier: String,
    subgroups: bool,
    tokens_in_flight: usize,
    readback_bytes_per_token: u64,
    shaders: Vec<ShaderFile>,
    steps: Vec<StepPlan>,
}

#[derive(Serialize)]
struct ShaderFile {
    file: String,
    kernel: &'static str,
    /// The sizes at the beginning of its text.
    constants: String,
}

#[derive(Serialize)]
struct StepPlan {
    step: &'static str,
    position: u32,
    rows: u32,
    dispatches: Vec<Dispatch>,
}

#[derive(Serialize)]
struct Dispatch {
    /// Index into [`Plan::shaders`].
    shader: usize,
    groups: [u32; 3],
    /// Bytes read, as the kernel declares them.
    bytes: u64,
    /// Bytes bound, by binding.
    bindings: Vec<u64>,
}

/// Loads the model and writes the files.
pub fn run(args: &ShadersArgs) -> Result<(), Failure> {
    let mut options = args.device.load(args.ctx);
    if let Some(maker) = &args.maker {
        let stored = Some(Tuning::of_maker(maker, args.device.gpu().adapter.tier == Some(Tier::APlus)));
        options.tuning = TuningOptions { stored, measure: Measure::Never, exact: args.device.exact };
    }
    let mut loaded = ModelFile::open(&args.model)?.load_on(args.device.gpu(), options)?;
    let (adapter, tier, model) = (loaded.adapter().to_owned(), loaded.tier().to_owned(), loaded.model);
    let engine = &mut loaded.engine;
    if args.position == 0 || args.position >= engine.context() {
        return Err(Failure::arguments(format!("--position has to be in 1 to {}", engine.context() - 1)));
    }
    // What is compiled only when it is needed first: logits of all rows.
    pollster::block_on(engine.model_mut().score(&[0], 0))?;
    let steps = [Step::Decode { position: args.position }, Step::prefill(engine, engine.context())];
    let recorded = steps.iter().map(|step| Ok((*step, step.record(engine)?))).collect::<Result<Vec<_>, Failure>>()?;
    let pipelines = engine.gpu().pipelines();
    let shaders =
        write(&args.dir, &pipelines).map_err(|error| Failure::other(format!("cannot write to {}: {error}", args.dir.display())))?;
    let plan = Plan {
        model,
        adapter,
        tier,
        subgroups: engine.gpu().capabilities().subgroups,
        tokens_in_flight: engine.model().most_in_flight(),
        readback_bytes_per_token: kinglet::gpu::ReadbackRing::BYTES,
        shaders,
        steps: recorded.iter().map(|(step, ran)| step_plan(*step, ran, &pipelines)).collect(),
    };
    let json = serde_json::to_string(&plan).map_err(|error| Failure::other(error.to_string()))?;
    let path = args.dir.join("plan.json");
    std::fs::write(&path, json).map_err(|error| Failure::other(format!("cannot write {}: {error}", path.display())))?;
    output::line(format_args!("{}", path.display()))
}

fn write(dir: &Path, pipelines: &[Rc<Pipeline>]) -> std::io::Result<Vec<ShaderFile>> {
    std::fs::create_dir_all(dir)?;
    let write = |(index, pipeline): (usize, &Rc<Pipeline>)| {
        let file = format!("{index:03}-{}.wgsl", pipeline.name());
        std::fs::write(dir.join(&file), pipeline.wgsl())?;
        Ok(ShaderFile { file, kernel: pipeline.name(), constants: pipeline.constants() })
    };
    pipelines.iter().enumerate().map(write).collect()
}

fn step_plan(step: Step, ran: &[Ran], pipelines: &[Rc<Pipeline>]) -> StepPlan {
    let (position, rows) = step.span();
    let index = |ran: &Ran| pipelines.iter().position(|pipeline| Rc::ptr_eq(pipeline, &ran.pipeline)).unwrap_or_default();
    let dispatch =
        |ran: &Ran| Dispatch { shader: index(ran), groups: ran.groups, bytes: ran.bytes, bindings: ran.bindings.clone() };
    StepPlan { step: step.name(), position, rows, dispatches: ran.iter().map(dispatch).collect() }
}
