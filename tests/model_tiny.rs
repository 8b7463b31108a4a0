//! The full forward pass, layer by layer, on tiny random models against a plain f64 one; and the generate loop on top.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[path = "common/gpu.rs"]
mod gpu;
#[path = "common/reference.rs"]
mod reference;
#[path = "common/tiny.rs"]
mod tiny;
#[path = "common/weights.rs"]
mod weights;

use gpu::{Random, open_both, worst};
use kinglet::engine::{AbortSignal, Engine, Error, FinishReason, GenerateParams, LoadOptions};
use kinglet::gpu::{Gpu, GpuOptions};
use kinglet::kernels::{Format, KvType};
use kinglet::sampling::SamplingParams;
use kinglet::weights::source::MemorySource;
use pollster::block_on;
use reference::{Tensors, forward};
use tiny::Tiny;

fn load(gpu: &Gpu, tiny: &Tiny, kv_type: KvType, seed: u64) -> (Engine, Tensors) {
    let (bytes, tensors) = tiny.build(seed);
    let mut source = MemorySource::new("tiny.gguf", bytes);
    let options = LoadOptions { context: None, kv_type, ..LoadOptions::default() };
    let engine = block_on(Engine::load(gpu.clone(), &mut source, options, &mut |_| {}, &AbortSignal::new()));
    (engine.expect("the tiny model loads"), tensors)
}

fn greedy(max_tokens: u32) -> GenerateParams {
    let sampling = SamplingParams { temperature: 0.0, ..Default::default() };
    GenerateParams { max_tokens: Some(max_tokens), sampling, stop: Vec::new(), ignore_eos: true }
}

fn prompt(random: &mut Random, length: usize, vocab: u32) -> Vec<u32> {
    (0..length).map(|_| random.below(u64::from(vocab)) as u32).collect()
}

/// Every block's output, as a chunk and token by token, and the logits at every position.
fn check(gpu: &Gpu, tiny: &Tiny, seed: u64, length: usize) {
    let (mut engine, tensors) = load(gpu, tiny, KvType::F32, seed);
    let ids = prompt(&mut Random(seed + 1), length, tiny.vocab);
    let expected = forward(engine.config(), &tensors, &ids);
    // Errors of f32 grow with depth; a wrong kernel is off by far more than this.
    const TOLERANCE: f64 = 5e-6;
    for layers in 0..=tiny.layers as usize {
        let chunk = block_on(engine.model_mut().hidden(&ids, 0, layers)).unwrap();
        let off = worst(&chunk, &expected.residual[layers]);
        assert!(off < TOLERANCE, "{tiny:?}: after {layers} blocks of prefill off by {off}");
        let mut steps = Vec::new();
        for (position, id) in ids.iter().enumerate() {
            steps.extend(block_on(engine.model_mut().hidden(&[*id], position as u32, layers)).unwrap());
        }
        let off = worst(&steps, &expected.residual[layers]);
        assert!(off < TOLERANCE, "{tiny:?}: after {layers} blocks of decode off by {off}");
    }
    let mut logits = Vec::new();
    block_on(engine.logits(&ids, &mut |_, row| logits.extend_from_slice(row))).unwrap();
    let off = worst(&logits, &expected.logits);
    assert!(off < TOLERANCE, "{tiny:?}: logits off by {off}");
}

#[test]
fn grouped_query_attention() {
    for gpu in open_both() {
        check(&gpu, &Tiny::default(), 1, 37);
    }
}

#[test]
fn multi_head_and_multi_query_attention() {
    for gpu in open_both() {
        check(&gpu, &Tiny { heads: 3, kv_heads: 3, head_dim: 32, ..Default::default() }, 2, 9);
        check(&gpu, &Tiny { heads: 6, kv_heads: 1, head_dim: 16, ..Default::default() }, 3, 9);
    }
}

#[test]
fn quantized_weights_stacked_and_not() {
    let formats = [
        [Format::Q4_1, Format::Q4_1, Format::Q8_0],
        [Format::Q4_0, Format::Q8_0, Format::Q4_0],
        [Format::F16, Format::BF16, Format::F16],
    ];
    for gpu in open_both() {
        for (seed, formats) in formats.into_iter().enumerate() {
            check(&gpu, &Tiny { formats, tied: false, ..Default::default() }, 10 + seed as u64, 6);
        }
    }
}

#[test]
fn weights_in_blocks_of_256() {
    let formats = [[Format::Q4_K, Format::Q6_K, Format::Q5_K], [Format::Q3_K, Format::IQ4_XS, Format::Q2_K]];
    let sizes = Tiny { embedding: 256, heads: 8, kv_heads: 2, head_dim: 32, feed_forward: 512, tied: false, ..Default::default() };
    for gpu in open_both() {
        for (seed, formats) in formats.into_iter().enumerate() {
            check(&gpu, &Tiny { formats, ..sizes.clone() }, 20 + seed as u64, 6);
        }
    }
}

#[test]
fn gate_and_up_of_different_types() {
    for gpu in open_both() {
        check(&gpu, &Tiny { up_format: Some(Format::Q8_0), ..Default::default() }, 14, 40);
    }
}

/// One dispatch for q, k and v, and one for gate and up, where their types differ but one holds the others' numbers. Blocks are five dispatches
/// then, and six in a long context.
#[test]
fn types_that_hold_one_another_share_a_dispatch() {
    use Format::{F32, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
    let of_256 = Tiny { embedding: 256, heads: 8, kv_heads: 2, head_dim: 32, feed_forward: 512, ..Default::default() };
    // A large vocabulary, so that what widening adds is little beside it.
    let large = Tiny { vocab: 8000, ..Default::default() };
    let kinds = [
        (Tiny { formats: [Q5_0, Q8_0, F32], feed_forward: 512, ..Default::default() }, 5),
        (Tiny { formats: [Q8_0, Q4_0, F32], feed_forward: 512, ..Default::default() }, 5),
        (Tiny { formats: [Q4_1, Q5_1, F32], feed_forward: 512, ..Default::default() }, 5),
        (Tiny { formats: [Q4_K, Q5_K, Q8_0], ..of_256.clone() }, 5),
        (Tiny { formats: [Q8_0; 3], up_format: Some(Q4_0), ..large.clone() }, 5),
        // What one dispatch would save is not worth the bytes that it would read more, or there is no such type.
        (Tiny { formats: [Q4_0, Q8_0, Q4_0], ..Default::default() }, 6),
        (Tiny { formats: [Q4_K, Q6_K, F32], ..of_256 }, 6),
        (Tiny { formats: [Q8_0; 3], up_format: Some(F32), ..large }, 7),
    ];
    for gpu in open_both() {
        for (seed, (tiny, blocks)) in (70..).zip(&kinds) {
            check(&gpu, tiny, seed, 5);
            let (engine, _) = load(&gpu, tiny, KvType::F32, seed);
            let dispatches = [0, 500].map(|position| engine.model().dispatches_of_blocks(position));
            assert_eq!(dispatches, [2 * blocks, 2 * (blocks + 1)], "{tiny:?}");
        }
    }
}

/// Bindings so small that every matrix is split, those of the embedding and the head too.
#[test]
fn matrices_in_shards() {
    for tied in [true, false] {
        let options = GpuOptions { binding_bytes: Some(16 << 10), ..GpuOptions::default() };
        let gpu = block_on(Gpu::open(options)).expect("a device");
        let tiny = Tiny { context: 64, tied, ..Default::default() };
        check(&gpu, &tiny, 15, 9);
        // Whole answers: the draw leaves the id for the next step's embedding.
        let (mut engine, tensors) = load(&gpu, &tiny, KvType::F32, 15);
        let ids = prompt(&mut Random(16), 4, 301);
        let expected = reference_greedy(&engine, &tensors, &ids, 8);
        let answer = block_on(engine.generate(&ids, &greedy(8), &mut |_, _| {}, &AbortSignal::new())).unwrap();
        assert_eq!(answer.ids, expected);
    }
}

#[test]
fn an_answer_that_grows_beyond_a_short_context() {
    let gpu = gpu::open();
    let (mut engine, tensors) = load(&gpu, &Tiny::default(), KvType::F32, 17);
    let ids = prompt(&mut Random(18), 122, 301);
    let expected = reference_greedy(&engine, &tensors, &ids, 12);
    let answer = block_on(engine.generate(&ids, &greedy(12), &mut |_, _| {}, &AbortSignal::new())).unwrap();
    assert_eq!(answer.ids, expected);
}

#[test]
fn rope_scaling() {
    for gpu in open_both() {
        check(&gpu, &Tiny { scaling: Some(("linear", 4.0)), ..Default::default() }, 20, 12);
        check(&gpu, &Tiny { scaling: Some(("yarn", 4.0)), ..Default::default() }, 21, 12);
        check(&gpu, &Tiny { rope_factors: true, ..Default::default() }, 22, 12);
    }
}

/// Greedy ids by running the reference again for every token.
fn reference_greedy(engine: &Engine, tensors: &Tensors, prompt: &[u32], count: usize) -> Vec<u32> {
    let vocab = engine.config().vocab as usize;
    let mut ids = prompt.to_vec();
    for _ in 0..count {
        let logits = forward(engine.config(), tensors, &ids).logits;
        let last = &logits[logits.len() - vocab..];
        let best = (0..vocab).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
        ids.push(best as u32);
    }
    ids.split_off(prompt.len())
}

#[test]
fn greedy_answers_are_the_references() {
    for gpu in open_both() {
        let (mut engine, tensors) = load(&gpu, &Tiny::default(), KvType::F32, 5);
        // A prompt of more than one chunk, a short one, and one that shares a prefix with it.
        let mut random = Random(50);
        let long = prompt(&mut random, 300, 301);
        let short = prompt(&mut random, 3, 301);
        let mut grown = short.clone();
        grown.extend(prompt(&mut random, 2, 301));
        for (ids, cached) in [(&long, 0), (&short, 0), (&grown, 3)] {
            let expected = reference_greedy(&engine, &tensors, ids, 5);
            let answer = block_on(engine.generate(ids, &greedy(5), &mut |_, _| {}, &AbortSignal::new())).unwrap();
            assert_eq!(answer.ids, expected);
            assert_eq!(answer.finish_reason, FinishReason::Length);
            assert_eq!(answer.cached_tokens, cached);
        }
    }
}

#[test]
fn an_answer_can_be_repeated_and_goes_on_where_it_was() {
    let gpu = gpu::open();
    let (mut engine, _) = load(&gpu, &Tiny::default(), KvType::F16, 6);
    let ids = prompt(&mut Random(60), 20, 301);
    let params = GenerateParams {
        sampling: SamplingParams { temperature: 1.5, top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 1.1, seed: 42 },
        ..greedy(24)
    };
    let run = |engine: &mut Engine, params: &GenerateParams| {
        block_on(engine.generate(&ids, params, &mut |_, _| {}, &AbortSignal::new())).unwrap().ids
    };
    let first = run(&mut engine, &params);
    assert_eq!(first.len(), 24);
    assert_eq!(run(&mut engine, &params), first, "the same seed gives the same ids, with the prompt in the cache");
    engine.reset();
    assert_eq!(run(&mut engine, &params), first, "and from an empty cache");
    let sampling = SamplingParams { seed: 43, ..params.sampling };
    assert_ne!(run(&mut engine, &GenerateParams { sampling, ..params }), first);
}

#[test]
fn an_abort_ends_within_one_step_and_leaves_the_engine_usable() {
    let gpu = gpu::open();
    let (mut engine, _) = load(&gpu, &Tiny::default(), KvType::F16, 7);
    let ids = prompt(&mut Random(70), 20, 301);
    let whole = block_on(engine.generate(&ids, &greedy(12), &mut |_, _| {}, &AbortSignal::new())).unwrap();
    let abort = AbortSignal::new();
    let mut seen = 0;
    let mut stop = |_: &str, _: u32| {
        seen += 1;
        if seen == 4 {
            abort.abort();
        }
    };
    let cut = block_on(engine.generate(&ids, &greedy(12), &mut stop, &abort)).unwrap();
    assert_eq!(cut.finish_reason, FinishReason::Abort);
    assert_eq!(cut.ids, whole.ids[..4]);
    let again = block_on(engine.generate(&ids, &greedy(12), &mut |_, _| {}, &AbortSignal::new())).unwrap();
    assert_eq!(again.ids, whole.ids);
}

#[test]
fn the_context_is_a_limit_and_not_a_cliff() {
    let gpu = gpu::open();
    let (mut engine, _) = load(&gpu, &Tiny { context: 40, ..Default::default() }, KvType::F16, 8);
    let ids = prompt(&mut Random(80), 30, 301);
    let answer = block_on(engine.generate(&ids, &greedy(1000), &mut |_, _| {}, &AbortSignal::new())).unwrap();
    assert_eq!((answer.ids.len(), answer.finish_reason), (10, FinishReason::Length));
    let long = prompt(&mut Random(81), 40, 301);
    let error = block_on(engine.generate(&long, &greedy(1), &mut |_, _| {}, &AbortSignal::new())).unwrap_err();
    assert!(matches!(error, Error::ContextExceeded { prompt: 40, context: 40 }), "{error}");
    let error = block_on(engine.generate(&[301], &greedy(1), &mut |_, _| {}, &AbortSignal::new())).unwrap_err();
    assert!(matches!(error, Error::BadToken { id: 301, vocab: 301 }), "{error}");
    let error = block_on(engine.generate(&[], &greedy(1), &mut |_, _| {}, &AbortSignal::new())).unwrap_err();
    assert!(matches!(error, Error::EmptyPrompt), "{error}");
}

#[test]
fn more_steps_are_sent_ahead_where_results_come_late() {
    let gpu = gpu::open();
    let (mut engine, _) = load(&gpu, &Tiny::default(), KvType::F16, 9);
    let ids = prompt(&mut Random(91), 20, 301);
    let answer =
        |engine: &mut Engine| block_on(engine.generate(&ids, &greedy(30), &mut |_, _| {}, &AbortSignal::new())).unwrap().ids;
    let expected = answer(&mut engine);
    let model = engine.model_mut();
    model.begin(&greedy(3).sampling, &ids);
    let pending = [model.prefill_and_draw(&ids, 0), model.decode(20)];
    block_on(gpu.idle()).unwrap();
    assert!(pending.iter().all(|pending| pending.is_done()));
    for (pending, expected) in pending.into_iter().zip(&expected) {
        assert_eq!(block_on(model.token(pending)).unwrap(), *expected);
    }
    (0..9).for_each(|_| model.deepen());
    assert_eq!(model.tokens_in_flight(), 4);
    engine.reset();
    assert_eq!(answer(&mut engine), expected);
}

#[test]
fn decoding_makes_nothing_new() {
    let gpu = gpu::open();
    let (mut engine, _) = load(&gpu, &Tiny::default(), KvType::F16, 9);
    let ids = prompt(&mut Random(90), 20, 301);
    let generate = |engine: &mut Engine, count| {
        let before = (gpu.memory().allocations, gpu.submits());
        block_on(engine.generate(&ids, &greedy(count), &mut |_, _| {}, &AbortSignal::new())).unwrap();
        (gpu.memory().allocations - before.0, gpu.submits() - before.1)
    };
    let short = generate(&mut engine, 1);
    let long = generate(&mut engine, 33);
    assert_eq!((short.0, long.0), (0, 0), "buffers made");
    assert_eq!(long.1 - short.1, 32, "one submit a token");
}
