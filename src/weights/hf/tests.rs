//! Models in Hugging Face's layout, good and bad.

use super::*;
use crate::model::ModelConfig;
use crate::text::{AddBos, ChatTemplate, Encode, Tokenizer};
use crate::weights::files::open_model;
use crate::weights::files::tests::{Memory, read, run};
use crate::weights::gguf::TensorInfo;
use crate::weights::source::MemorySource;
use half::bf16;
use serde_json::json;

/// A tensor to write: name, type, shape, bytes.
pub(super) type Row = (String, &'static str, Vec<u64>, Vec<u8>);

/// A safetensors file.
fn file(rows: &[Row]) -> Vec<u8> {
    let mut header = json!({"__metadata__": {"format": "pt"}});
    let mut at = 0;
    for (name, dtype, shape, bytes) in rows {
        header[name] = json!({"dtype": dtype, "shape": shape, "data_offsets": [at, at + bytes.len()]});
        at += bytes.len();
    }
    let header = header.to_string();
    let data = rows.iter().flat_map(|(.., bytes)| bytes.clone());
    (header.len() as u64).to_le_bytes().into_iter().chain(header.into_bytes()).chain(data).collect()
}

fn bf16s(numbers: impl IntoIterator<Item = f32>) -> Vec<u8> {
    numbers.into_iter().flat_map(|number| bf16::from_f32(number).to_le_bytes()).collect()
}

/// BF16 numbers that differ from tensor to tensor.
fn row(name: &str, shape: &[u64]) -> Row {
    let size = shape.iter().product::<u64>();
    let seed = name.bytes().fold(7_u64, |sum, byte| sum * 31 % 509 + u64::from(byte));
    (name.to_owned(), "BF16", shape.to_vec(), bf16s((0..size).map(|i| ((i * 37 + seed) % 253) as f32 / 64.0 - 2.0)))
}

const LAYERS: u64 = 2;

pub(super) fn config(model_type: &str) -> Json {
    json!({
        "model_type": model_type, "hidden_size": 32, "num_hidden_layers": LAYERS, "intermediate_size": 64, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 128, "vocab_size": 260, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
        "hidden_act": "silu", "eos_token_id": 2,
    })
}

/// The tensors of a llama with these names in a layer besides.
pub(super) fn rows(more: &[(&str, &[u64])], without: &[&str]) -> Vec<Row> {
    let mut rows = vec![row("model.embed_tokens.weight", &[260, 32]), row("model.norm.weight", &[32])];
    let usual: [(&str, &[u64]); 9] = [
        ("self_attn.q_proj.weight", &[32, 32]),
        ("self_attn.k_proj.weight", &[16, 32]),
        ("self_attn.v_proj.weight", &[16, 32]),
        ("self_attn.o_proj.weight", &[32, 32]),
        ("mlp.gate_proj.weight", &[64, 32]),
        ("mlp.up_proj.weight", &[64, 32]),
        ("mlp.down_proj.weight", &[32, 64]),
        ("input_layernorm.weight", &[32]),
        ("post_attention_layernorm.weight", &[32]),
    ];
    for layer in 0..LAYERS {
        let kept = usual.iter().filter(|(name, _)| !without.contains(name)).chain(more);
        rows.extend(kept.map(|(name, shape)| row(&format!("model.layers.{layer}.{name}"), shape)));
    }
    rows
}

/// Byte-level, with the 256 bytes and two special tokens.
fn tokenizer() -> Json {
    let bytes = (0_u32..256).map(|byte| (char::from_u32(0x100 + byte).unwrap().to_string(), json!(byte)));
    let special = |id: u32, content: &str| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(256, "<s>"), special(257, "</s>"), special(258, "<turn>"), special(300, "<beyond>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": bytes.collect::<serde_json::Map<_, _>>(), "merges": []}
    })
}

pub(super) fn model(config: &Json, rows: &[Row]) -> Memory {
    let mut files = Memory::default();
    let mut put = |name: &str, json: &Json| _ = files.0.insert(name.to_owned(), json.to_string().into_bytes());
    put("config.json", config);
    put("tokenizer.json", &tokenizer());
    put(
        "tokenizer_config.json",
        &json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": true, "chat_template": [
            {"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}"}, {"name": "tool_use", "template": "tools"}]}),
    );
    put("generation_config.json", &json!({"eos_token_id": [257, 258]}));
    files.0.insert("model.safetensors".to_owned(), file(rows));
    files
}

pub(super) fn opened(files: &Memory, quantize: Quantize) -> Opened<MemorySource> {
    run(open_model(&mut files.clone(), None, "tiny", quantize)).expect("a good model")
}

/// A tensor and its bytes.
pub(super) fn tensor(opened: &mut Opened<MemorySource>, name: &str) -> (TensorInfo, Vec<u8>) {
    let info = opened.gguf.tensor(name).unwrap_or_else(|| panic!("no {name}")).clone();
    let bytes = read(&mut opened.source, info.offset, info.bytes as usize);
    (info, bytes)
}

#[track_caller]
pub(super) fn fails(files: &Memory, words: &[&str]) {
    let error =
        run(open_model(&mut files.clone(), None, "tiny", Quantize::None)).map(|opened| opened.gguf).expect_err("a bad model");
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn a_llama_looks_like_its_gguf() {
    let rows = rows(&[], &[]);
    let mut opened = opened(&model(&config("llama"), &rows), Quantize::None);
    assert_eq!(opened.layout, Layout::HuggingFace(1));
    assert_eq!(opened.gguf.tensors.len(), rows.len());
    let config = ModelConfig::from_gguf(&opened.gguf.metadata, &opened.gguf.tensors).unwrap();
    assert_eq!((config.layers, config.heads, config.kv_heads, config.head_dim, config.vocab), (2, 4, 2, 8, 260));
    assert_eq!((config.name.as_str(), config.context, config.epsilon), ("tiny", 128, 1e-5));
    assert_eq!(config.rope.map(|rope| rope.layout), Some(crate::model::RopeLayout::HalfSplit));

    let (info, bytes) = tensor(&mut opened, "blk.1.attn_k.weight");
    assert_eq!((info.kind, info.dims), (TensorType::BF16, vec![32, 16]));
    assert_eq!(bytes, rows.iter().find(|row| row.0 == "model.layers.1.self_attn.k_proj.weight").unwrap().3);
    // Vectors are F32, as in a GGUF.
    let (info, bytes) = tensor(&mut opened, "blk.1.ffn_norm.weight");
    assert_eq!((info.kind, info.dims), (TensorType::F32, vec![32]));
    let stored = &rows.iter().find(|row| row.0 == "model.layers.1.post_attention_layernorm.weight").unwrap().3;
    let widened: Vec<u8> = stored.chunks(2).flat_map(|two| [0, 0, two[0], two[1]]).collect();
    assert_eq!(bytes, widened);
}

#[test]
fn the_tokenizer_and_its_templates_come_along() {
    let opened = opened(&model(&config("llama"), &rows(&[], &[])), Quantize::None);
    let tokenizer = Tokenizer::from_gguf(&opened.gguf.metadata).unwrap();
    // A token beyond the embedding's rows is not the model's.
    assert_eq!(tokenizer.vocab_size(), 260);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(256), Some(257), true));
    assert_eq!(tokenizer.eog_ids(), [2, 257, 258]);
    let ids = tokenizer.encode("<s>", Encode { parse_special: true, add_bos: AddBos::No }).unwrap();
    assert_eq!(ids, [256]);
    let template = ChatTemplate::for_model(&opened.gguf.metadata, &tokenizer).unwrap();
    assert_eq!(template.names().collect::<Vec<_>>(), ["tool_use"]);
    assert_eq!(template.source(), "{{ bos_token }}{{ messages[0].content }}");
    let mut files = model(&config("llama"), &rows(&[], &[]));
    files.0.insert("chat_template.jinja".into(), b"of its own".to_vec());
    let opened = run(open_model(&mut files, None, "tiny", Quantize::None)).unwrap();
    assert_eq!(opened.gguf.metadata.string("tokenizer.chat_template"), Ok(Some("of its own")));
}

#[test]
fn parts_are_found_by_their_index() {
    let rows = rows(&[], &[]);
    let mut files = model(&config("llama"), &rows);
    files.0.remove("model.safetensors");
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let (first, second) = rows.split_at(9);
    files.0.insert(names[0].into(), file(first));
    files.0.insert(names[1].into(), file(second));
    let part = |rows: &[Row], name: &str| rows.iter().map(|row| (row.0.clone(), json!(name))).collect::<Vec<_>>();
    let map: serde_json::Map<_, _> = part(first, names[0]).into_iter().chain(part(second, names[1])).collect();
    let index = |map: &serde_json::Map<String, Json>| json!({"weight_map": map}).to_string().into_bytes();
    files.0.insert("model.safetensors.index.json".into(), index(&map));
    let mut whole = opened(&model(&config("llama"), &rows), Quantize::None);
    let mut parted = opened(&files, Quantize::None);
    assert_eq!(parted.layout, Layout::HuggingFace(2));
    for info in whole.gguf.tensors.clone() {
        assert_eq!(tensor(&mut whole, &info.name).1, tensor(&mut parted, &info.name).1, "{}", info.name);
    }

    let mut wrong = map.clone();
    wrong.insert("model.more.weight".into(), json!(names[1]));
    files.0.insert("model.safetensors.index.json".into(), index(&wrong));
    fails(&files, &["model.more.weight", names[1]]);
    files.0.insert("model.safetensors.index.json".into(), index(&map));
    files.0.remove(names[1]);
    fails(&files, &["no model-00002-of-00002.safetensors in tiny"]);
    wrong.insert("x".into(), json!("../../etc/passwd"));
    files.0.insert("model.safetensors.index.json".into(), index(&wrong));
    fails(&files, &["index.json", "not beside it"]);
    files.0.insert("model.safetensors.index.json".into(), b"{}".to_vec());
    fails(&files, &["weight_map"]);
}

#[test]
fn gemmas_norms_gain_one() {
    let more: [(&str, &[u64]); 4] = [
        ("pre_feedforward_layernorm.weight", &[32]),
        ("post_feedforward_layernorm.weight", &[32]),
        ("self_attn.q_norm.weight", &[8]),
        ("self_attn.k_norm.weight", &[8]),
    ];
    let rows = rows(&more, &[]);
    let mut config = config("gemma3_text");
    config["hidden_activation"] = json!("gelu_pytorch_tanh");
    config["query_pre_attn_scalar"] = json!(16);
    config["sliding_window"] = json!(512);
    config["layer_types"] = json!(["sliding_attention", "full_attention"]);
    let mut opened = opened(&model(&config, &rows), Quantize::None);
    for (theirs, ours) in [
        ("self_attn.q_norm", "attn_q_norm"),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_attention_layernorm", "post_attention_norm"),
    ] {
        let (info, bytes) = tensor(&mut opened, &format!("blk.0.{ours}.weight"));
        assert_eq!(info.kind, TensorType::F32);
        let stored = &rows.iter().find(|row| row.0 == format!("model.layers.0.{theirs}.weight")).unwrap().3;
        let first = bf16::from_le_bytes([stored[0], stored[1]]).to_f32();
        assert_eq!(f32::from_le_bytes(bytes[..4].try_into().unwrap()), first + 1.0);
    }
    let metadata = &opened.gguf.metadata;
    assert_eq!(metadata.string("general.architecture"), Ok(Some("gemma3")));
    assert_eq!(metadata.u32("gemma3.attention.sliding_window"), Ok(Some(512)));
    assert_eq!(metadata.f32("gemma3.attention.scale"), Ok(Some(0.25)));
    assert_eq!(metadata.f32("gemma3.rope.freq_base"), Ok(Some(1e6)));
    assert!(metadata.get("gemma3.attention.sliding_window_pattern").is_some());
    let known = ModelConfig::from_gguf(metadata, &opened.gguf.tensors).unwrap();
    assert_eq!((known.local, known.window, known.attention_scale), (vec![true, false], 512, 0.25));
    // The text part of a model that sees.
    let config = json!({"model_type": "gemma3", "text_config": config, "vision_config": {}});
    let mut seeing: Vec<Row> = rows
        .iter()
        .map(|row| (row.0.replacen("model.", "language_model.model.", 1), row.1, row.2.clone(), row.3.clone()))
        .collect();
    seeing.push(row("vision_tower.vision_model.post_layernorm.weight", &[3]));
    let seeing = self::opened(&model(&config, &seeing), Quantize::None);
    let names = |opened: &Opened<MemorySource>| opened.gguf.tensors.iter().map(|tensor| tensor.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&seeing), names(&opened));
}

#[test]
fn experts_are_stacked() {
    let experts = |layer: u64| {
        (0..3_u32).rev().flat_map(move |expert| {
            let name = move |part: &str| format!("model.layers.{layer}.block_sparse_moe.experts.{expert}.{part}.weight");
            [row(&name("w1"), &[64, 32]), row(&name("w2"), &[32, 64]), row(&name("w3"), &[64, 32])]
        })
    };
    let dense = ["mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"];
    let mut rows = rows(&[("block_sparse_moe.gate.weight", &[3, 32])], &dense);
    rows.extend((0..LAYERS).flat_map(experts));
    let mut config = config("mixtral");
    config["num_local_experts"] = json!(3);
    config["num_experts_per_tok"] = json!(2);
    let mut opened = opened(&model(&config, &rows), Quantize::None);
    let (info, bytes) = tensor(&mut opened, "blk.1.ffn_down_exps.weight");
    assert_eq!((info.kind, info.dims), (TensorType::BF16, vec![64, 32, 3]));
    let stored = |expert: u32| {
        rows.iter().find(|row| row.0 == format!("model.layers.1.block_sparse_moe.experts.{expert}.w2.weight")).unwrap().3.clone()
    };
    let bytes_of_down = [stored(0), stored(1), stored(2)].concat();
    assert_eq!(bytes, bytes_of_down);
    let (info, _) = tensor(&mut opened, "blk.0.ffn_gate_inp.weight");
    assert_eq!((info.kind, info.dims), (TensorType::F32, vec![32, 3]));
    assert_eq!(opened.gguf.metadata.u32("llama.expert_used_count"), Ok(Some(2)));
    let known = ModelConfig::from_gguf(&opened.gguf.metadata, &opened.gguf.tensors).unwrap();
    assert_eq!(known.experts.map(|experts| (experts.count, experts.used, experts.feed_forward)), Some((3, 2, 64)));

    // Qwen's experts have other names and a length of their own.
    let mut qwen = self::config("qwen3_moe");
    for (key, value) in [("num_experts", 3), ("num_experts_per_tok", 2), ("moe_intermediate_size", 64), ("decoder_sparse_step", 1)]
    {
        qwen[key] = json!(value);
    }
    qwen["norm_topk_prob"] = json!(true);
    let renamed = |name: &str| {
        let name = name.replace("block_sparse_moe", "mlp").replace(".w1.", ".gate_proj.");
        name.replace(".w2.", ".down_proj.").replace(".w3.", ".up_proj.")
    };
    let qwen_rows: Vec<Row> = rows.iter().map(|row| (renamed(&row.0), row.1, row.2.clone(), row.3.clone())).collect();
    let mut seen = self::opened(&model(&qwen, &qwen_rows), Quantize::None);
    assert_eq!(tensor(&mut seen, "blk.1.ffn_down_exps.weight").1, bytes_of_down);
    assert!(ModelConfig::from_gguf(&seen.gguf.metadata, &seen.gguf.tensors).is_ok_and(|known| known.architecture == "qwen3moe"));
    qwen["norm_topk_prob"] = json!(false);
    fails(&model(&qwen, &qwen_rows), &["norm_topk_prob", "false"]);

    let missing: Vec<Row> = rows.iter().filter(|row| !row.0.contains("0.block_sparse_moe.experts.1.w3")).cloned().collect();
    fails(&model(&config, &missing), &["expert 1 of blk.0.ffn_up_exps.weight is missing"]);
    config["num_local_experts"] = json!(2);
    fails(&model(&config, &rows), &["experts.2.w1", "fewer experts"]);
}

#[test]
fn every_family_knows_its_tensors() {
    let norms: &[(&str, &[u64])] = &[("self_attn.q_norm.weight", &[8]), ("self_attn.k_norm.weight", &[8])];
    let biases: &[(&str, &[u64])] =
        &[("self_attn.q_proj.bias", &[32]), ("self_attn.k_proj.bias", &[16]), ("self_attn.v_proj.bias", &[16])];
    let fused: &[(&str, &[u64])] = &[("self_attn.qkv_proj.weight", &[64, 32]), ("mlp.gate_up_proj.weight", &[128, 32])];
    let unfused = [
        "self_attn.q_proj.weight",
        "self_attn.k_proj.weight",
        "self_attn.v_proj.weight",
        "mlp.gate_proj.weight",
        "mlp.up_proj.weight",
    ];
    let post: &[(&str, &[u64])] = &[("post_feedforward_layernorm.weight", &[32])];
    /// Model type, architecture, tensors more, tensors less, GGUF's names for some.
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a [u64])], &'a [&'a str], &'a [&'a str]);
    let cases: [Case; 7] = [
        ("smollm3", "smollm3", &[], &[], &["blk.1.ffn_gate.weight"]),
        ("qwen2", "qwen2", biases, &[], &["blk.0.attn_k.bias"]),
        ("qwen3", "qwen3", norms, &[], &["blk.1.attn_q_norm.weight"]),
        ("phi3", "phi3", fused, &unfused, &["blk.0.attn_qkv.weight", "blk.0.ffn_up.weight"]),
        ("olmo2", "olmo2", post, &["input_layernorm.weight"], &["blk.0.post_attention_norm.weight", "blk.0.post_ffw_norm.weight"]),
        ("granite", "granite", &[], &[], &["blk.0.ffn_norm.weight"]),
        ("stablelm", "stablelm", &[("input_layernorm.bias", &[32])], &[], &["blk.0.attn_norm.bias"]),
    ];
    for (model_type, architecture, more, without, wanted) in cases {
        let mut config = config(model_type);
        for (key, value) in [
            ("layer_norm_eps", json!(1e-5)),
            ("attention_multiplier", json!(0.25)),
            ("embedding_multiplier", json!(2.0)),
            ("residual_multiplier", json!(0.5)),
            ("logits_scaling", json!(4.0)),
            ("use_parallel_residual", json!(false)),
            ("no_rope_layers", json!([1, 1])),
        ] {
            config[key] = value;
        }
        let opened = opened(&model(&config, &rows(more, without)), Quantize::None);
        let known = ModelConfig::from_gguf(&opened.gguf.metadata, &opened.gguf.tensors);
        assert_eq!(known.map(|config| (config.layers, config.heads)), Ok((2, 4)), "{model_type}");
        assert_eq!(opened.gguf.metadata.string("general.architecture"), Ok(Some(architecture)));
        for name in wanted {
            assert!(opened.gguf.tensor(name).is_some(), "{model_type}: {name}");
        }
    }
}

#[test]
fn rope_scaling_is_carried_over() {
    let with = |scaling: Json| {
        let mut config = config("llama");
        config["rope_scaling"] = scaling;
        config["rope_theta"] = json!(500_000.0);
        opened(&model(&config, &rows(&[], &[])), Quantize::None)
    };
    let opened = with(json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}));
    assert_eq!(opened.gguf.metadata.string("llama.rope.scaling.type"), Ok(Some("yarn")));
    assert_eq!(opened.gguf.metadata.u32("llama.rope.scaling.original_context_length"), Ok(Some(32)));
    assert_eq!(opened.gguf.metadata.f32("llama.rope.freq_base"), Ok(Some(500_000.0)));
    let mut opened = with(json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192}));
    let (info, bytes) = tensor(&mut opened, "rope_freqs.weight");
    let factors: Vec<f32> = bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    assert_eq!(info.dims, [4]);
    // Waves of 2π·500000^(i/4): 6, 167, 4443 and 118144 tokens long.
    assert_eq!((factors[0], factors[1], factors[3]), (1.0, 1.0, 32.0));
    let smooth = (8192.0 / 4443.0 - 1.0) / 3.0;
    assert!((factors[2] - 1.0 / ((1.0 - smooth) / 32.0 + smooth)).abs() < 1e-2, "{factors:?}");
    let mut config = config("llama");
    config["rope_scaling"] = json!({"rope_type": "spiral"});
    fails(&model(&config, &rows(&[], &[])), &["rope_type", "spiral"]);
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let good = rows(&[], &[]);
    let with = |key: &str, value: Json| {
        let mut config = config("llama");
        config[key] = value;
        model(&config, &good)
    };
    for (method, word) in [("awq", "AWQ"), ("gptq", "GPTQ"), ("bitsandbytes", "bitsandbytes"), ("fp8", "fp8")] {
        fails(&with("quantization_config", json!({"quant_method": method, "bits": 4})), &[word, "--quantize"]);
    }
    fails(&with("model_type", json!("abacus")), &["abacus", "qwen3_moe"]);
    fails(&with("hidden_act", json!("relu")), &["hidden_act", "relu"]);
    fails(&with("num_hidden_layers", json!(-1)), &["num_hidden_layers", "-1"]);
    fails(&with("tie_word_embeddings", json!(false)), &["lm_head.weight"]);
    fails(&with("num_experts", json!(4_000_000_000_u32)), &["num_experts"]);

    let plus = |row: Row| model(&config("llama"), &[&good[..], &[row]].concat());
    fails(&plus(row("model.layers.0.self_attn.q_proj.qweight", &[4, 4])), &["AWQ or GPTQ"]);
    fails(&plus(row("model.layers.0.self_attn.sinks", &[4])), &["sinks", "llama"]);
    fails(&plus(row("model.layers.0.mlp.router.weight", &[4])), &["router"]);
    fails(&plus(("model.layers.7.mlp.up_proj.weight".into(), "F8_E4M3", vec![4], vec![0; 4])), &["fp8"]);
    fails(&plus(("model.layers.7.mlp.up_proj.weight".into(), "I32", vec![1], vec![0; 4])), &["I32"]);
    fails(&plus(row("model.layers.7.mlp.up_proj.weight", &[2, 2, 2])), &["[2, 2, 2]"]);
    fails(&plus(row("language_model.model.norm.weight", &[32])), &["output_norm.weight is there twice"]);

    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let mut files = model(&config("llama"), &good);
        files.0.remove(name);
        fails(&files, &[name, "tiny"]);
        files.0.insert(name.to_owned(), b"{{{{{{{{{".to_vec());
        if name != "tokenizer.json" {
            fails(&files, &[name]);
        }
    }
    let mut files = model(&config("llama"), &good);
    files.0.insert("config.json".to_owned(), vec![b' '; MAX_CONFIG_BYTES as usize + 1]);
    fails(&files, &["config.json"]);
}

/// A tokenizer.model: bytes, two words and what they are merged of.
fn sentencepiece(kind: u8, add_prefix: u8) -> Vec<u8> {
    let bytes = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let piece = |text: &str, score: f32, kind: u8| {
        bytes(1, &[&bytes(1, text.as_bytes())[..], &[0x15], &score.to_le_bytes(), &[0x18, kind]].concat())
    };
    let mut file = [piece("<unk>", 0.0, 2), piece("<s>", 0.0, 3), piece("</s>", 0.0, 3)].concat();
    for byte in 0..=255_u8 {
        file.extend(piece(&format!("<0x{byte:02X}>"), 0.0, 6));
    }
    for (text, score) in [("▁a", -1.0), ("▁ab", -2.0), ("▁", -3.0), ("a", -4.0), ("b", -5.0)] {
        file.extend(piece(text, score, 1));
    }
    // The pad token's id is -1 in ten bytes.
    let trainer = [&[0x18, kind, 0xC0, 0x02, 0, 0xC8, 0x02, 1, 0xD0, 0x02, 2, 0xD8, 0x02][..], &[0xFF; 9], &[1]].concat();
    file.extend(bytes(2, &trainer));
    file.extend(bytes(3, &[&bytes(1, b"identity")[..], &[0x18, add_prefix]].concat()));
    file
}

#[test]
fn an_older_vocabulary_is_read_from_its_tokenizer_model() {
    let mut files = model(&config("llama"), &rows(&[], &[]));
    files.0.remove("tokenizer.json");
    let mut config = config("llama");
    config["vocab_size"] = json!(270);
    files.0.insert("config.json".into(), config.to_string().into_bytes());
    files.0.insert("tokenizer.model".into(), sentencepiece(2, 1));
    files.0.insert("added_tokens.json".into(), br#"{"<pad>": 264}"#.to_vec());
    let settings =
        json!({"bos_token": "<s>", "add_bos_token": true, "added_tokens_decoder": {"266": {"content": "<turn>", "special": true}}});
    files.0.insert("tokenizer_config.json".into(), settings.to_string().into_bytes());
    files.0.insert("generation_config.json".into(), br#"{"eos_token_id": [2, 266]}"#.to_vec());
    let opened = self::opened(&files, Quantize::None);
    let tokenizer = Tokenizer::from_gguf(&opened.gguf.metadata).unwrap();
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos(), tokenizer.eog_ids(), tokenizer.vocab_size()),
        (Some(1), Some(2), &[2, 266][..], 267)
    );
    let ids = tokenizer.encode("ab b\n", Encode { parse_special: false, add_bos: AddBos::FromModel }).unwrap();
    assert_eq!(ids, [1, 260, 261, 263, 3 + 10]);
    assert_eq!(tokenizer.special_id("<turn>"), Some(266));
    assert!(ChatTemplate::for_model(&opened.gguf.metadata, &tokenizer).is_ok());

    let mut with = |bytes: Vec<u8>, words: &[&str]| {
        files.0.insert("tokenizer.model".into(), bytes);
        fails(&files, words);
    };
    with(sentencepiece(1, 1), &["tokenizer.model", "unigram"]);
    with(Vec::new(), &["tokenizer.model", "damaged"]);
    with(vec![0x0A, 200, 1], &["tokenizer.model", "damaged"]);
    with(vec![0xFF; 40], &["tokenizer.model", "damaged"]);
    files.0.insert("tokenizer.model".into(), sentencepiece(2, 1));
    files.0.insert("added_tokens.json".into(), br#"{"<pad>": 4000000000}"#.to_vec());
    fails(&files, &["tokenizer.model", "higher ids"]);
}
