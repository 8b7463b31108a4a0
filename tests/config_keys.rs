//! Metadata keys as converters write them, changed one by one in the goldens' files: which field of the configuration they become, or
//! which error.

#[path = "common/ggufwriter.rs"]
mod ggufwriter;
#[path = "common/golden_family.rs"]
mod golden_family;

use golden_family::{Golden, named};
use kinglet::model::{ConfigError, ModelConfig, RopeScaling};
use kinglet::weights::gguf::{Gguf, Parse};
use serde_json::{Value, json};

/// The configuration of a golden with other keys: without the architecture's prefix, with GGUF's type.
fn config(name: &str, keys: &[(&str, &str, Value)]) -> Result<ModelConfig, ConfigError> {
    let architecture = ["llama", "mistral3", "qwen3moe", "granitemoe"].iter().find(|known| name.starts_with(**known));
    let architecture = architecture.copied().unwrap_or_else(|| name.split('-').next().unwrap());
    let architecture = if name == "mistral-window" { "llama" } else { architecture };
    let golden = keys.iter().fold(named(name), |golden: Golden, (key, kind, value)| match kind {
        &"gone" => golden.without(&format!("{architecture}.{key}")),
        kind => golden.with(&format!("{architecture}.{key}"), kind, value.clone()),
    });
    let file = golden.file();
    match Gguf::parse(&file, Some(file.len() as u64)).unwrap() {
        Parse::Done(gguf) => ModelConfig::from_gguf(&gguf.metadata, &gguf.tensors),
        Parse::NeedMore { at_least } => panic!("{name}: the header needs {at_least} bytes"),
    }
}

fn good(name: &str, keys: &[(&str, &str, Value)]) -> ModelConfig {
    config(name, keys).unwrap_or_else(|error| panic!("{name} with {keys:?}: {error}"))
}

fn bad(name: &str, keys: &[(&str, &str, Value)]) -> String {
    match config(name, keys) {
        Err(ConfigError::BadValue { key, .. }) => key,
        other => panic!("{name} with {keys:?}: {other:?}"),
    }
}

#[test]
fn the_sizes_that_differ_from_their_siblings() {
    // 64 numbers for 6 heads of 16.
    for (name, large) in [("gemma2", 46), ("gemma3", 62)] {
        for (layers, dim) in [(large, 10_f64), (large - 1, 16.0)] {
            let scale = good(name, &[("block_count", "u32", json!(layers))]).attention_scale;
            assert!((f64::from(scale) - 1.0 / dim.sqrt()).abs() < 1e-7, "{name} of {layers} layers scales by {scale}");
        }
    }
    for (layers, window) in [(64, 4096), (30, 0)] {
        // A window is one if it is narrower than the context.
        let exaone = good("exaone4", &[("block_count", "u32", json!(layers)), ("context_length", "u32", json!(8192))]);
        assert_eq!((exaone.window, exaone.window_of(0), exaone.window_of(3)), (window, window, 0));
        assert!(exaone.rope_of(0).is_some());
        assert_eq!(exaone.rope_of(3).is_some(), window == 0, "only layers with a window turn, if there are any");
    }
    for (layers, alibi) in [(40, 8.0), (32, 0.0)] {
        let baichuan = good("baichuan-13b", &[("block_count", "u32", json!(layers))]);
        assert_eq!((baichuan.alibi, baichuan.rope.is_some()), (alibi, alibi == 0.0));
    }
}

#[test]
fn windows() {
    let window = ("attention.sliding_window", "u32", json!(24));
    for (name, default) in [("gemma2", 4096), ("cohere2", 4096), ("mistral-window", 0), ("olmo2", 0)] {
        assert_eq!(good(name, &[("attention.sliding_window", "gone", Value::Null)]).window, default, "{name}");
        assert_eq!(good(name, std::slice::from_ref(&window)).window, 24, "{name}");
        // As Phi-4's converter says that there is none.
        assert_eq!(good(name, &[("attention.sliding_window", "u32", json!(0))]).window, 0, "{name}");
    }
    let narrow = |size: u32| good("mistral-window", &[("attention.sliding_window", "u32", json!(size))]);
    let context = narrow(24).context;
    assert_eq!([context - 1, context].map(|size| narrow(size).window_of(0)), [context - 1, 0]);
    for size in [0, 2047, 262_144] {
        assert_eq!(good("phi3", &[("attention.sliding_window", "u32", json!(size))]).window, 0);
    }
    let local =
        |pattern: Value, kind| good("cohere2", &[window.clone(), ("attention.sliding_window_pattern", kind, pattern)]).local;
    assert_eq!(local(json!(0), "u32"), [true; 4], "no layer sees everything");
    assert_eq!(local(json!(1), "u32"), [false; 4], "every layer sees everything");
    assert_eq!(local(json!(2), "u32"), [true, false, true, false]);
    assert_eq!(local(json!([false, true, true, false]), "bool[]"), [false, true, true, false]);
    let pattern = ("attention.sliding_window_pattern", "bool[]", json!([true, true]));
    assert_eq!(bad("cohere2", &[pattern]), "cohere2.attention.sliding_window_pattern");
}

#[test]
fn layers_with_a_window_turn_by_their_own_base() {
    let base = ("rope.freq_base_swa", "f32", json!(5000.0));
    let window = ("attention.sliding_window", "u32", json!(12));
    for (name, global, default) in [("gemma3", 1e6, 1e4), ("gemma2", 1e4, 1e4), ("cohere2", 1e4, 1e4), ("mistral-window", 1e4, 1e4)]
    {
        for (key, local) in [(base.clone(), 5e3), (("rope.freq_base_swa", "gone", Value::Null), default)] {
            let config = good(name, &[key, window.clone()]);
            let bases: Vec<f64> = (0..config.layers).filter_map(|layer| config.rope_of(layer)).map(|rope| rope.base).collect();
            let expected: Vec<f64> = (0..config.layers)
                .filter(|layer| config.rope_of(*layer).is_some())
                .map(|layer| if config.window_of(layer) > 0 { local } else { global })
                .collect();
            assert_eq!(bases, expected, "{name}");
            assert!(bases.contains(&local));
        }
    }
    let yarn = [
        window,
        ("block_count", "u32", json!(8)),
        ("rope.scaling.type", "string", json!("yarn")),
        ("rope.scaling.factor", "f32", json!(8.0)),
        ("rope.scaling.attn_factor", "f32", json!(1.5)),
    ];
    let olmo = good("olmo2", &yarn);
    let [local, global] = [0, 3].map(|layer| *olmo.rope_of(layer).unwrap());
    assert_eq!((local.scaling, local.attention_factor, local.base), (RopeScaling::None, 1.0, 500_000.0));
    assert!(matches!(global.scaling, RopeScaling::Yarn { factor: 8.0, .. }));
    assert!((global.attention_factor - 1.5 * (1.0 + 0.1 * 8f64.ln())).abs() < 1e-12);
}

#[test]
fn ways_to_say_how_frequencies_are_stretched() {
    let factor = |factor: f64| ("rope.scaling.factor", "f32", json!(factor));
    let kind = |kind: &str| ("rope.scaling.type", "string", json!(kind));
    let none = ("rope.scaling.factor", "gone", Value::Null);
    let rope = |keys: &[_]| good("llama", keys).rope.unwrap();
    for keys in
        [vec![factor(0.0)], vec![kind("linear"), none.clone()], vec![kind("linear"), factor(0.0)], vec![kind("none"), factor(4.0)]]
    {
        assert_eq!(rope(&keys).scaling, RopeScaling::None, "{keys:?}");
    }
    for keys in [vec![factor(4.0)], vec![kind("linear"), factor(4.0)], vec![("rope.scale_linear", "f32", json!(4.0))]] {
        assert_eq!(rope(&keys).scaling, RopeScaling::Linear { factor: 4.0 }, "{keys:?}");
    }
    for keys in [vec![], vec![factor(4.0)], vec![kind("none")]] {
        let keys = [keys, vec![("rope.scaling.attn_factor", "f32", json!(1.25))]].concat();
        assert_eq!(rope(&keys).attention_factor, 1.25, "{keys:?}");
    }
    assert_eq!(bad("llama", &[kind("dynamic"), factor(2.0)]), "llama.rope.scaling.type");
    assert_eq!(bad("llama", &[factor(-2.0)]), "llama.rope.scaling.factor");
    assert!(matches!(config("llama-yarn", &[none]), Err(ConfigError::MissingKey { .. })));

    let computed = 1.0 + 0.1 * 4f64.ln();
    for (key, value) in [("yarn_attn_factor", computed), ("yarn_ext_factor", 1.0)] {
        let name = format!("rope.scaling.{key}");
        let rope = good("llama-yarn", &[(&name, "f32", json!(value))]).rope.unwrap();
        assert!((rope.attention_factor - computed).abs() < 1e-12);
        for other in [0.0, value + 0.1] {
            assert_eq!(bad("llama-yarn", &[(&name, "f32", json!(other))]), format!("llama.{name}"));
        }
    }
    // Temperatures are not where no scale is given, whatever is said of the context.
    assert_eq!(good("llama", &[("rope.scaling.original_context_length", "u32", json!(0))]).temperature, None);
}

#[test]
fn positions_without_turns() {
    let bias = |bias: f64| ("attention.max_alibi_bias", "f32", json!(bias));
    let gone = ("attention.max_alibi_bias", "gone", Value::Null);
    for (name, key, alibi) in [
        ("bloom", gone.clone(), 8.0),
        ("bloom", bias(4.0), 4.0),
        ("mpt", bias(8.0), 8.0),
        ("mpt", bias(0.0), 0.0),
        ("mpt", gone, 0.0),
    ] {
        let config = good(name, &[key]);
        assert_eq!((config.alibi, config.learned_positions, config.rope), (alibi, alibi == 0.0, None), "{name}");
    }
    assert!(good("gpt2", &[]).learned_positions);
    // Granite's converter says so where the model has no positions at all; MiniCPM's only that the model was not tuned for a longer context.
    let untuned = [("rope.scaling.finetuned", "bool", json!(false))];
    for (name, turns) in [("granite", false), ("minicpm", true), ("llama", true)] {
        let config = good(name, &untuned);
        assert_eq!((config.rope.is_some(), config.learned_positions, config.alibi), (turns, false, 0.0), "{name}");
    }
}

#[test]
fn experts() {
    let experts = |name: &str, key, kind, value| good(name, &[(key, kind, value)]).experts.unwrap();
    assert!(experts("qwen3moe", "expert_gating_func", "u32", json!(1)).normalized);
    assert!(experts("qwen3moe", "expert_gating_func", "u32", json!(0)).normalized);
    assert_eq!(bad("qwen3moe", &[("expert_gating_func", "u32", json!(2))]), "qwen3moe.expert_gating_func");
    assert_eq!(experts("deepseek", "expert_weights_scale", "f32", json!(0.0)).scale, 1.0);
    assert_eq!(experts("deepseek", "expert_weights_scale", "f32", json!(2.5)).scale, 2.5);
    assert!(!experts("qwen3moe", "expert_weights_norm", "bool", json!(false)).normalized);
    assert_eq!(bad("qwen3moe", &[("expert_used_count", "u32", json!(8))]), "qwen3moe.expert_used_count");
}

#[test]
fn numbers_that_cannot_be() {
    for (name, key, kind, value) in [
        ("llama", "block_count", "u32", json!(0)),
        ("llama", "block_count", "u32", json!(100_000)),
        ("llama", "attention.head_count", "u32", json!(0)),
        ("llama", "attention.head_count_kv", "i32[]", json!([2, -1])),
        ("llama", "attention.head_count_kv", "i32[]", json!([-2, -2])),
        ("llama", "attention.head_count_kv", "i32[]", json!([])),
        ("llama", "attention.layer_norm_rms_epsilon", "f32", json!(-1e-5)),
        ("llama", "rope.freq_base", "f32", json!(0.0)),
        ("granite", "logit_scale", "f32", json!(1e-40)),
        ("granite", "residual_scale", "f32", json!(-1.0)),
        ("gemma2", "attn_logit_softcapping", "f32", json!(-1.0)),
        ("bloom", "attention.max_alibi_bias", "f32", json!(-8.0)),
    ] {
        assert!(bad(name, &[(key, kind, value)]).ends_with(key), "{name}: {key}");
    }
}
