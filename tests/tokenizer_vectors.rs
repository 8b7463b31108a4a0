//! Real vocabularies against ids that other implementations made.

mod common {
    pub mod vocab;
}

use common::vocab;
use kinglet::text::{AddBos, DecodeOptions, Encode, Tokenizer, TokenizerError};

const PLAIN: Encode = Encode { parse_special: false, add_bos: AddBos::No };

/// Vocabularies that llama.cpp publishes with texts and their ids.
const WITH_VECTORS: &[&str] = &[
    "llama-spm",
    "phi-3",
    "llama-bpe",
    "qwen2",
    "qwen35",
    "gpt-2",
    "falcon",
    "starcoder",
    "refact",
    "mpt",
    "command-r",
    "deepseek-llm",
    "deepseek-coder",
];

/// Vocabularies without vectors that must load and go round.
const WITHOUT_VECTORS: &[&str] = &["baichuan", "aquila", "gpt-neox"];

/// These have no token for some bytes: those of rare planes of Unicode, and Falcon's of control characters.
const INCOMPLETE: &[&str] = &["falcon", "starcoder", "refact"];

/// Their tokenizer models are not supported yet: WordPiece, Gemma 4's BPE on plain UTF-8, Unigram.
const NOT_YET: &[(&str, &str)] = &[("bert-bge", "bert"), ("gemma-4", "gemma4"), ("nomic-bert-moe", "t5")];

fn vectors(name: &str) -> Option<Vec<(String, Vec<u32>)>> {
    let read = |suffix| {
        let path = vocab::cached(&format!("vocab/ggml-vocab-{name}.gguf.{suffix}"))?;
        Some(String::from_utf8(std::fs::read(path).unwrap()).unwrap())
    };
    let (inputs, outputs) = (read("inp")?, read("out")?);
    // Every text and every line has its end.
    let inputs: Vec<&str> = inputs.split("\n__ggml_vocab_test__\n").collect();
    let inputs = inputs.strip_suffix(&[""]).unwrap_or(&inputs);
    let outputs: Vec<&str> = outputs.lines().collect();
    assert_eq!(inputs.len(), outputs.len(), "{name}");
    let ids = |line: &str| line.split_whitespace().map(|id| id.parse().unwrap()).collect();
    Some(inputs.iter().zip(outputs).map(|(text, line)| ((*text).to_owned(), ids(line))).collect())
}

#[test]
fn the_vectors_of_llama_cpp() {
    for name in WITH_VECTORS {
        let Some(metadata) = vocab::vocabulary(name) else { continue };
        let Some(vectors) = vectors(name) else { continue };
        let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
        let mut wrong = 0;
        for (text, expected) in &vectors {
            let ids = tokenizer.encode(text, PLAIN).unwrap();
            if ids != *expected {
                wrong += 1;
                eprintln!("{name}: {text:?}\n  is        {ids:?}\n  should be {expected:?}");
            }
        }
        assert_eq!(wrong, 0, "{name}: of {} texts", vectors.len());
        eprintln!("{name}: {} texts", vectors.len());
    }
}

#[test]
fn texts_go_round() {
    for name in WITH_VECTORS.iter().chain(WITHOUT_VECTORS) {
        let Some(metadata) = vocab::vocabulary(name) else { continue };
        let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
        let mut wrong = 0;
        for mut text in random_texts(200) {
            if INCOMPLETE.contains(name) {
                text.retain(|character| !character.is_control() && character < '\u{40000}');
            }
            // Unicode's composed form is a decision of this vocabulary.
            if *name == "qwen2" {
                text.retain(|character| character < '\u{250}' || ('\u{4e00}'..'\u{a000}').contains(&character));
            }
            let ids = tokenizer.encode(&text, PLAIN).unwrap();
            let back = tokenizer.decode(&ids, DecodeOptions { special: true });
            if back != text {
                wrong += 1;
                eprintln!("{name}: {text:?}\n  becomes {back:?}");
            }
        }
        assert_eq!(wrong, 0, "{name}");
    }
}

/// 234 texts with ids from Hugging Face `tokenizers`, made by oracle/tokenizer_cases.py.
fn cases() -> serde_json::Value {
    serde_json::from_str(include_str!("data/text/tokenizer_cases.json")).unwrap()
}

fn compare(what: &str, vocabulary: &str, tokenizer: &Tokenizer) {
    let cases = cases();
    let (texts, expected) = (cases["texts"].as_array().unwrap(), cases[vocabulary].as_array().unwrap());
    assert!(texts.len() >= 200);
    let mut wrong = 0;
    for (text, expected) in texts.iter().zip(expected) {
        let ids = serde_json::json!(tokenizer.encode(text.as_str().unwrap(), PLAIN).unwrap());
        if ids != *expected {
            wrong += 1;
            eprintln!("{what}: {text}\n  is        {ids}\n  should be {expected}");
        }
    }
    assert_eq!(wrong, 0, "{what}: of {} texts", texts.len());
}

#[test]
fn hugging_face_agrees_on_gguf_vocabularies() {
    for name in ["qwen2", "llama-bpe"] {
        let Some(metadata) = vocab::vocabulary(name) else { continue };
        compare(name, name, &Tokenizer::from_gguf(&metadata).unwrap());
    }
}

#[test]
fn hugging_face_agrees_on_tokenizer_json() {
    for (name, folder) in [("qwen2", "qwen2_5"), ("llama-bpe", "llama3")] {
        let Some(folder) = vocab::cached(&format!("vocab/{folder}")) else { continue };
        let read = |name| std::fs::read(folder.join(name)).unwrap();
        let (json, config) = (read("tokenizer.json"), read("tokenizer_config.json"));
        let tokenizer = Tokenizer::from_json(&json, Some(&config)).unwrap();
        compare("tokenizer.json", name, &tokenizer);
        let (bos, eos) = match name {
            "qwen2" => (None, "<|im_end|>"),
            _ => (Some("<|begin_of_text|>"), "<|end_of_text|>"),
        };
        assert_eq!(tokenizer.bos(), bos.and_then(|text| tokenizer.special_id(text)), "{name}");
        assert_eq!(tokenizer.eos(), tokenizer.special_id(eos), "{name}");
        assert!(tokenizer.is_eog(tokenizer.special_id(eos).unwrap()));
        let ids = tokenizer.encode("Hi", Encode::default()).unwrap();
        assert_eq!(ids.len(), 1);
        assert_eq!(tokenizer.decode(&ids, DecodeOptions::default()), "Hi");
    }
}

/// ChatGLM2's published token vectors, without the two ids that its own tokenizer always puts in front.
#[test]
fn chatglm2s_published_vectors() {
    let Some(folder) = vocab::cached("vocab/chatglm3") else { return };
    let read = |name| std::fs::read(folder.join(name)).unwrap();
    let tokenizer = Tokenizer::from_json(&read("tokenizer.json"), Some(&read("tokenizer_config.json"))).unwrap();
    let rounds = "[Round 1]\n\n问：你好\n\n答：你好👋！我是人工智能助手 ChatGLM2-6B，很高兴见到你，欢迎问我任何问题。\n\n[Round 2]\n\n\
                  问：晚上睡不着应该怎么办\n\n答：";
    let cases: [(&str, &[u32]); 4] = [
        ("你好", &[36474, 54591]),
        (
            "[Round 1]\n\n问：你好\n\n答：",
            &[790, 30951, 517, 30910, 30939, 30996, 13, 13, 54761, 31211, 39701, 13, 13, 55437, 31211],
        ),
        (
            rounds,
            &[
                790, 30951, 517, 30910, 30939, 30996, 13, 13, 54761, 31211, 39701, 13, 13, 55437, 31211, 39701, 243, 162, 148, 142,
                31404, 33030, 34797, 42481, 22011, 10461, 30944, 30943, 30941, 30978, 30949, 31123, 48895, 35214, 54622, 31123,
                32616, 39905, 31901, 31639, 31155, 13, 13, 30995, 30951, 517, 30910, 30943, 30996, 13, 13, 54761, 31211, 32820,
                54266, 31876, 35153, 13, 13, 55437, 31211,
            ],
        ),
        (
            "def main():\n    print('hello world')\t# greeting",
            &[884, 1301, 9427, 13, 296, 4466, 2029, 15616, 30914, 993, 3387, 12, 31010, 30174],
        ),
    ];
    for (text, ids) in cases {
        let options = Encode { parse_special: false, add_bos: AddBos::No };
        assert_eq!(tokenizer.encode(text, options).unwrap(), ids, "{text}");
        assert_eq!(tokenizer.decode(ids, DecodeOptions::default()).trim_start(), text);
    }
}

#[test]
fn special_tokens_only_when_asked() {
    let Some(metadata) = vocab::vocabulary("llama-spm") else { return };
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
    let encode = |text, parse_special, add_bos| {
        let options = Encode { parse_special, add_bos };
        tokenizer.encode(text, options).unwrap()
    };
    // `</` and `s>` are tokens that would merge to the end-of-text token; `<0x0A>` is the byte token of a line feed.
    for text in ["</s>", "<s>", "<unk>", "<0x0A>", "a</s>b"] {
        let ids = encode(text, false, AddBos::FromModel);
        assert_eq!(ids.iter().filter(|&&id| id < 259).count(), 1, "{text}: {ids:?}");
        assert_eq!(tokenizer.decode(&ids, DecodeOptions::default()), text);
    }
    assert_eq!(encode("Hi</s>", true, AddBos::FromModel), [1, 6324, 2]);
    assert_eq!(encode("Hi", false, AddBos::No), [6324]);
    assert_eq!(encode("", false, AddBos::Yes), [1]);
    assert_eq!(encode("", false, AddBos::No), [] as [u32; 0]);
    assert_eq!(tokenizer.decode(&[1, 6324, 2], DecodeOptions { special: true }), "<s>Hi</s>");
    assert_eq!(tokenizer.eog_ids(), [2]);
}

/// 35 KB of text, and how many ids llama.cpp makes of it.
#[test]
fn a_long_text_as_llama_cpp_encodes_it() {
    let Ok(text) = std::fs::read_to_string("/usr/share/common-licenses/GPL-3") else {
        eprintln!("skipped: /usr/share/common-licenses/GPL-3 is not there (it is on Debian)");
        return;
    };
    for (metadata, count) in [(vocab::smollm2(), 7639), (vocab::vocabulary("qwen2"), 7486)] {
        let Some(metadata) = metadata else { continue };
        let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
        let ids = tokenizer.encode(&text, PLAIN).unwrap();
        assert_eq!(ids.len(), count);
        assert_eq!(tokenizer.decode(&ids, DecodeOptions::default()), text);
    }
}

#[test]
fn long_texts_take_no_quadratic_time() {
    let begun = std::time::Instant::now();
    for name in ["llama-spm", "llama-bpe"] {
        let Some(metadata) = vocab::vocabulary(name) else { continue };
        let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
        for run in ["a", " ", "\n", "1", "=", "<", "é", "你", "\u{301}", "<|im_start|>"] {
            tokenizer.encode(&run.repeat(100_000), PLAIN).unwrap();
        }
        let text: String = random_texts(40_000).concat();
        assert!(text.len() > 1_000_000);
        tokenizer.encode(&text, PLAIN).unwrap();
        eprintln!("{name}: {:?}", begun.elapsed());
    }
    assert!(begun.elapsed().as_secs() < 240);
}

#[test]
fn what_is_not_supported_yet_says_so() {
    for (name, model) in NOT_YET {
        let Some(metadata) = vocab::vocabulary(name) else { continue };
        match Tokenizer::from_gguf(&metadata) {
            Err(TokenizerError::UnknownModel { name, .. }) => assert_eq!(name, *model),
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// Random Unicode: any scalar value, with a liking for ASCII, spaces and line feeds.
fn random_texts(count: usize) -> Vec<String> {
    let mut state = 0x9e37_79b9_u32;
    let mut random = move |below: u32| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state % below
    };
    (0..count)
        .map(|_| {
            (0..random(40))
                .filter_map(|_| match random(6) {
                    0 => Some(' '),
                    1 => char::from_u32(random(0x80)),
                    2 => char::from_u32(random(0x250)),
                    3 => char::from_u32(0x4e00 + random(0x5000)),
                    4 => char::from_u32(0x1f300 + random(0x300)),
                    _ => char::from_u32(random(0x11_0000)),
                })
                // SentencePiece cannot tell its own space sign from a space.
                .filter(|&character| character != '\u{2581}')
                .collect()
        })
        .collect()
}
