//! Vocabularies made for the purpose: what must work without a download, and what must be refused.

use super::*;
use crate::weights::gguf::{Array, Metadata, Value};

fn strings(values: &[&str]) -> Value {
    Value::Array(Array::String(values.iter().map(|&value| value.to_owned()).collect()))
}

fn floats(values: &[f32]) -> Value {
    Value::Array(Array::F32(values.to_vec()))
}

fn integers(values: &[i32]) -> Value {
    Value::Array(Array::I32(values.to_vec()))
}

/// `base` with some entries replaced, or taken away (`None`).
fn with(base: &[(&str, Value)], changes: &[(&str, Option<Value>)]) -> Metadata {
    let mut entries: Vec<(String, Value)> = base
        .iter()
        .filter(|(key, _)| changes.iter().all(|(changed, _)| changed != key))
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    for (key, value) in changes {
        entries.extend(value.clone().map(|value| ((*key).to_owned(), value)));
    }
    let entries = entries.into_iter().map(|(key, value)| (format!("tokenizer.{key}"), value)).collect();
    Metadata::from_entries(entries).unwrap()
}

fn bpe() -> Vec<(&'static str, Value)> {
    vec![
        ("ggml.model", Value::String("gpt2".to_owned())),
        ("ggml.pre", Value::String("smollm".to_owned())),
        ("ggml.tokens", strings(&["<|im_start|>", "<|im_end|>", "a", "b", "Ġ", "Ã", "©", "ab", "Ġab", "<tool>", "1"])),
        ("ggml.token_type", integers(&[3, 3, 1, 1, 1, 1, 1, 1, 1, 4, 1])),
        ("ggml.merges", strings(&["a b", "Ġ ab"])),
        ("ggml.bos_token_id", Value::U32(0)),
        ("ggml.eos_token_id", Value::U32(1)),
    ]
}

fn spm() -> Vec<(&'static str, Value)> {
    vec![
        ("ggml.model", Value::String("llama".to_owned())),
        ("ggml.tokens", strings(&["<unk>", "<s>", "</s>", "<0x0A>", "<0xC3>", "<0xA9>", "▁", "a", "▁a", "b", "</", "s>"])),
        ("ggml.token_type", integers(&[2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 1, 1])),
        ("ggml.scores", floats(&[0., 0., 0., 0., 0., 0., -3., -2., -1., -2., -4., -4.])),
    ]
}

fn plain(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, Encode { parse_special: false, add_bos: AddBos::No }).unwrap()
}

#[test]
fn byte_level_bpe() {
    let tokenizer = Tokenizer::from_gguf(&with(&bpe(), &[])).unwrap();
    assert_eq!(plain(&tokenizer, "ab ab1é"), [7, 8, 10, 5, 6]);
    assert_eq!(plain(&tokenizer, "a<tool>b"), [2, 9, 3]);
    let special = Encode { parse_special: true, add_bos: AddBos::Yes };
    assert_eq!(tokenizer.encode("a<|im_end|>", special).unwrap(), [0, 2, 1]);
    assert_eq!(tokenizer.decode(&[0, 8, 5, 6, 9, 99, 1], DecodeOptions::default()), " abé<tool>");
    assert_eq!(tokenizer.piece(8), " ab");
    assert_eq!(tokenizer.piece(5), "\u{fffd}");
    assert_eq!(tokenizer.token_bytes(99), None);
    assert_eq!(tokenizer.eog_ids(), [1]);
    let mut stream = Detokenizer::new(&tokenizer);
    assert_eq!(stream.push(5), "");
    assert_eq!(stream.push(6), "é");
    assert_eq!(stream.push(5), "");
    assert_eq!(stream.push(2), "\u{fffd}a");
    assert_eq!(stream.push(5), "");
    assert_eq!(stream.finish(), "\u{fffd}");
}

#[test]
fn sentencepiece() {
    let tokenizer = Tokenizer::from_gguf(&with(&spm(), &[])).unwrap();
    assert_eq!(tokenizer.encode("a é\nx", Encode::default()).unwrap(), [1, 8, 6, 4, 5, 3, 0]);
    assert_eq!(plain(&tokenizer, "</s>"), [6, 10, 11]);
    assert_eq!(tokenizer.decode(&[1, 8, 6, 4, 5, 3, 2], DecodeOptions::default()), "a é\n");
    let mut stream = Detokenizer::continuing(&tokenizer);
    assert_eq!(stream.push(8), " a");
    let flags = [
        ("ggml.add_space_prefix", Some(Value::Bool(false))),
        ("ggml.remove_extra_whitespaces", Some(Value::Bool(true))),
        ("ggml.add_eos_token", Some(Value::Bool(true))),
    ];
    let tokenizer = Tokenizer::from_gguf(&with(&spm(), &flags)).unwrap();
    assert_eq!(tokenizer.encode("  a  a ", Encode::default()).unwrap(), [1, 7, 8, 2]);
    assert_eq!(tokenizer.decode(&[8], DecodeOptions::default()), " a");
}

#[test]
fn what_is_missing_or_unknown_is_named() {
    let error = |base: &[(&str, Value)], changes: &[(&str, Option<Value>)]| Tokenizer::from_gguf(&with(base, changes)).unwrap_err();
    let text = |value: &str| Some(Value::String(value.to_owned()));
    for (base, key) in [(bpe(), "ggml.model"), (bpe(), "ggml.tokens"), (bpe(), "ggml.merges"), (spm(), "ggml.scores")] {
        let missing = error(&base, &[(key, None)]);
        assert!(matches!(missing, TokenizerError::MissingKey { key: named } if named.ends_with(key)));
    }
    let unknown = error(&bpe(), &[("ggml.pre", text("martian"))]).to_string();
    assert!(unknown.contains("martian") && unknown.contains("smollm") && unknown.contains("llama-bpe"));
    let unknown = error(&bpe(), &[("ggml.model", text("bert"))]).to_string();
    assert!(unknown.contains("bert") && unknown.contains("gpt2, llama"));
    let mistyped = error(&bpe(), &[("ggml.tokens", text("x"))]);
    assert!(matches!(mistyped, TokenizerError::Metadata(_)));
}

#[test]
fn contradictions_are_refused() {
    let bpe_error = |key: &'static str, value: Value| Tokenizer::from_gguf(&with(&bpe(), &[(key, Some(value))])).unwrap_err();
    let spm_error = |key: &'static str, value: Value| Tokenizer::from_gguf(&with(&spm(), &[(key, Some(value))])).unwrap_err();
    use TokenizerError as E;
    assert!(matches!(bpe_error("ggml.tokens", strings(&[])), E::VocabularySize { size: 0, .. }));
    assert!(matches!(bpe_error("ggml.token_type", integers(&[1])), E::WrongLength { found: 1, .. }));
    assert!(matches!(bpe_error("ggml.eos_token_id", Value::U32(11)), E::IdOutOfRange { id: 11, size: 11, .. }));
    assert!(matches!(bpe_error("ggml.bos_token_id", Value::U64(1 << 40)), E::IdOutOfRange { .. }));
    assert!(matches!(bpe_error("ggml.eot_token_id", Value::I32(-7)), E::Metadata(_)));
    let merge = bpe_error("ggml.merges", strings(&["a b", "a x"]));
    assert!(matches!(merge, E::MergeWithoutToken { index: 1, token, .. } if token == "x"));
    let merge = bpe_error("ggml.merges", strings(&["b a"]));
    assert!(matches!(merge, E::MergeWithoutToken { index: 0, token, .. } if token == "ba"));
    for bad in ["ab", "", " ", "a ", " a"] {
        assert!(matches!(bpe_error("ggml.merges", strings(&[bad])), E::BadMerge { index: 0, .. }));
    }
    let long = "x".repeat(1 << 20);
    assert!(matches!(spm_error("ggml.tokens", strings(&["a", &long])), E::TokenTooLong { id: 1, .. }));
    assert!(matches!(spm_error("ggml.scores", floats(&[0.; 3])), E::WrongLength { found: 3, .. }));
    let mut scores = [0.; 12];
    scores[7] = f32::NAN;
    assert!(matches!(spm_error("ggml.scores", floats(&scores)), E::BadScore { id: 7 }));
    assert!(matches!(spm_error("ggml.scores", integers(&[0; 12])), E::Metadata(_)));
}

#[test]
fn odd_but_harmless_vocabularies_load() {
    let odd = [
        ("ggml.bos_token_id", Some(Value::I32(-1))),
        ("ggml.eos_token_id", Some(Value::U32(u32::MAX))),
        ("ggml.token_type", None),
        ("ggml.tokens", Some(strings(&["", "<|im_end|>", "a", "b", "ab", "ab", "", "你", "Ġ", "Ġab", "x"]))),
    ];
    let tokenizer = Tokenizer::from_gguf(&with(&bpe(), &odd)).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (None, None));
    assert_eq!(tokenizer.eog_ids(), [1]);
    assert_eq!(plain(&tokenizer, "ab<|im_end|>"), [4]);
    let bos = Encode { parse_special: false, add_bos: AddBos::Yes };
    assert!(matches!(tokenizer.encode("a", bos), Err(TokenizerError::NoSuchToken { .. })));
}

#[test]
fn tokenizer_json_of_any_kind() {
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": [
            {"id": 4, "content": "<s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false},
            {"id": 5, "content": "<x>", "special": false, "single_word": false, "lstrip": true, "rstrip": true, "normalized": false}
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true},
        "post_processor": null,
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true},
        "model": {"type": "BPE", "unk_token": "?", "fuse_unk": false, "byte_fallback": false,
            "vocab": {"?": 0, "▁": 1, "a": 2, "▁a": 3}, "merges": [["▁", "a"]]}
    });
    let config = serde_json::json!({"bos_token": {"content": "<s>"}, "eos_token": "</none>", "add_bos_token": true});
    let (json, config) = (json.to_string(), config.to_string());
    let tokenizer = Tokenizer::from_json(json.as_bytes(), Some(config.as_bytes())).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.vocab_size()), (Some(4), None, 6));
    assert_eq!(tokenizer.encode("a a <x> a", Encode::default()).unwrap(), [4, 3, 3, 5, 2]);
    assert_eq!(plain(&tokenizer, "<s>"), [1, 0, 0, 0]);
    assert_eq!(tokenizer.decode(&[4, 3, 3, 5, 2], DecodeOptions::default()), "a a<x>a");
    assert!(matches!(Tokenizer::from_json(b"{}", None), Err(TokenizerError::Json { .. })));
    assert!(matches!(Tokenizer::from_json(json.as_bytes(), Some(b"[")), Err(TokenizerError::Json { .. })));
}
