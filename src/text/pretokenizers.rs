//! The pre-tokenizers by name (`tokenizer.ggml.pre`): the patterns are those of the models' own tokenizer.json files.

use super::pretokenize::Stage;

/// One family of pre-tokenizers.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// The names that converters give it.
    pub names: &'static [&'static str],
    pub stages: &'static [Stage],
    /// A word that is a token stays whole, whatever the merges say.
    pub ignore_merges: bool,
    /// Whether a BOS token is put in front if the file does not say.
    pub add_bos: bool,
    /// The model's tokenizer.json normalizes to NFC, for which GGUF has no key.
    pub compose: bool,
}

impl PreTokenizer {
    const fn new(names: &'static [&'static str], stages: &'static [Stage]) -> Self {
        Self { names, stages, ignore_merges: false, add_bos: false, compose: false }
    }

    const fn ignore_merges(self) -> Self {
        Self { ignore_merges: true, ..self }
    }

    const fn compose(self) -> Self {
        Self { compose: true, ..self }
    }

    const fn add_bos(self) -> Self {
        Self { add_bos: true, ..self }
    }
}

/// What a file without `tokenizer.ggml.pre` gets.
pub(super) const DEFAULT: &str = "default";

/// The names that `tokenizer.ggml.pre` may have, sorted.
#[must_use]
pub fn known_pre_tokenizers() -> Vec<&'static str> {
    let mut names: Vec<_> = TABLE.iter().flat_map(|entry| entry.names.iter().copied()).collect();
    names.sort_unstable();
    names
}

pub(super) fn find(name: &str) -> Option<&'static PreTokenizer> {
    TABLE.iter().find(|entry| entry.names.contains(&name))
}

pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+";

/// OpenAI's cl100k pattern and its relatives: contractions, words with one leading sign, numbers of `$digits` at a
/// time, signs, line breaks.
macro_rules! cl100k {
    ($digits:literal, $tail:literal) => {
        concat!(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|", $digits, $tail)
    };
    ($digits:literal) => {
        cl100k!($digits, r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+")
    };
}

/// OpenAI's o200k pattern and its relatives: words are cut where lower case turns to upper case.
macro_rules! o200k {
    ($contraction:literal, $digits:literal) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            $contraction,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            $contraction,
            "|",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
        )
    };
}

const DEEPSEEK_3_WORDS: &str =
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+"##;

const CJK: &str = "[\u{4E00}-\u{9FA5}\u{800}-\u{4E00}\u{AC00}-\u{D7FF}]+";

/// The cased letters, as DeepSeek LLM's tokenizer.json lists them.
const CASED: &str = "\\s?[A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}\u{295}-\u{2AF}\
     \u{370}-\u{373}\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}\u{38C}\u{38E}-\u{3A1}\
     \u{3A3}-\u{3F5}\u{3F7}-\u{481}\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}\
     \u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}\
     \u{1D79}-\u{1D9A}\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}\u{1F48}-\u{1F4D}\
     \u{1F50}-\u{1F57}\u{1F59}\u{1F5B}\u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}\u{1FB6}-\u{1FBC}\u{1FBE}\
     \u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\
     \u{1FF2}-\u{1FF4}\u{1FF6}-\u{1FFC}\u{2102}\u{2107}\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}\
     \u{2126}\u{2128}\u{212A}-\u{212D}\u{212F}-\u{2134}\u{2139}\u{213C}-\u{213F}\u{2145}-\u{2149}\u{214E}\
     \u{2183}\u{2184}\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}\u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}\
     \u{A680}-\u{A69B}\u{A722}-\u{A76F}\u{A771}-\u{A787}\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\
     \u{FB00}-\u{FB06}\u{FB13}-\u{FB17}\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}\
     \u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}\u{118A0}-\u{118DF}\
     \u{1E900}-\u{1E943}]+";

const TABLE: &[PreTokenizer] = &[
    PreTokenizer::new(
        &[DEFAULT],
        &[Stage::plain(r"[\p{P}$+<=>^~|]+"), Stage::spaces(GPT2), Stage::plain(r"\p{N}+"), Stage::plain("[0-9][0-9][0-9]")],
    ),
    PreTokenizer::new(
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
        ],
        &[Stage::spaces(GPT2)],
    ),
    PreTokenizer::new(
        &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[Stage::plain(r"\p{N}"), Stage::spaces(GPT2)],
    ),
    PreTokenizer::new(
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        &[Stage::spaces(cl100k!(r"\p{N}{1,3}"))],
    )
    .ignore_merges()
    .add_bos(),
    PreTokenizer::new(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[Stage::spaces(cl100k!(r"\p{N}{1,3}"))]),
    PreTokenizer::new(&["glm4", "glm5"], &[Stage::spaces(cl100k!(r"\p{N}{1,3}"))]).ignore_merges(),
    PreTokenizer::new(&["qwen2"], &[Stage::spaces(cl100k!(r"\p{N}"))]).compose(),
    PreTokenizer::new(
        &["stablelm2", "deepseek-r1-qwen", "kormo", "megrez", "hunyuan", "grok-2", "solar-open", "f2llmv2"],
        &[Stage::spaces(cl100k!(r"\p{N}"))],
    ),
    PreTokenizer::new(
        &["qwen35"],
        &[Stage::spaces(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+",
        )],
    ),
    PreTokenizer::new(&["minicpm5"], &[Stage::plain(r"\p{N}{1,3}"), Stage::spaces(cl100k!(r"\p{N}+"))]).ignore_merges(),
    PreTokenizer::new(&["laguna"], &[Stage::plain(r"[^\n]+|\n+"), Stage::spaces(cl100k!(r"\p{N}"))]),
    PreTokenizer::new(&["seed-coder"], &[Stage::spaces(cl100k!(r"\p{N}", r"| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+"))]),
    PreTokenizer::new(
        &["bailingmoe", "bailingmoe2", "llada-moe"],
        &[Stage::spaces(r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]")],
    ),
    PreTokenizer::new(
        &["exaone-moe"],
        &[Stage::spaces(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]",
        )],
    ),
    PreTokenizer::new(&["tekken"], &[Stage::spaces(o200k!("", r"\p{N}"))]).ignore_merges().add_bos(),
    PreTokenizer::new(
        &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        &[Stage::spaces(o200k!("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"\p{N}{1,3}"))],
    ),
    PreTokenizer::new(
        &["deepseek-llm"],
        &[
            Stage::plain(r"[\r\n]"),
            Stage::plain(CASED),
            Stage::plain("\\s?[!-/:-~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3000}-\u{3002}]+"),
            Stage::plain(r"\s+$"),
            Stage::plain(CJK),
            Stage::plain(r"\p{N}+"),
        ],
    ),
    PreTokenizer::new(
        &["deepseek-coder"],
        &[
            Stage::plain(r"[\r\n]"),
            Stage::plain(r"\s?\p{L}+"),
            Stage::plain(r"\s?\p{P}+"),
            Stage::plain(CJK),
            Stage::plain(r"\p{N}"),
        ],
    ),
    PreTokenizer::new(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[
            Stage::plain(r"\p{N}{1,3}"),
            Stage::plain("[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+"),
            Stage::spaces(DEEPSEEK_3_WORDS),
        ],
    ),
    PreTokenizer::new(&["falcon"], &[Stage::plain(r"[\p{P}$+<=>^~|`]+"), Stage::spaces(GPT2), Stage::plain("[0-9][0-9][0-9]")]),
    PreTokenizer::new(&["bloom", "poro-chat", "gpt3-finnish"], &[Stage::plain(BLOOM)]),
    PreTokenizer::new(&["viking"], &[Stage::plain(BLOOM), Stage::plain(r"\p{N}")]),
    PreTokenizer::new(
        &["chameleon"],
        &[
            Stage::plain("<sentinel:[0-9]+>"),
            Stage::plain("IMGIMG[A-I]{1,4}Z"),
            Stage::plain(r"[\t\n]|    |  "),
            Stage::plain(r"\p{N}"),
            Stage::plain(r"[\p{P}!-/:-@\[-`{-~]"),
            Stage::spaces(GPT2),
        ],
    )
    .add_bos(),
];

const BLOOM: &str = " ?[^(\\s|.,!?\u{2026}\u{3002}\u{FF0C}\u{3001}\u{964}\u{6D4}\u{60C})]+";
