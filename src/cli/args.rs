//! The arguments, as clap reads them. Anything wrong with them ends with code 2.

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use kinglet::engine::{GenerateParams, LoadOptions};
use kinglet::gpu::{AdapterChoice, GpuOptions, Tier};
use kinglet::kernels::KvType;
use kinglet::model::{Measure, TuningOptions};
use kinglet::sampling::SamplingParams;
use kinglet::weights::convert::Quantize;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;

const AFTER: &str = "MODEL is the path or the URL of a GGUF file (any one of several parts), the folder of a Hugging Face model (its URL ends in a\n\
    slash), or a known name, which is fetched to the cache once.\n\
    Exit codes: 0 good, 1 other failures, 2 bad arguments, 3 bad model file, 4 no usable GPU, 5 out of memory.";

/// Open language models on your own GPU.
#[derive(Debug, Parser)]
#[command(name = "kinglet", version, after_help = AFTER, disable_help_subcommand = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Talk with a model
    Chat(ChatArgs),
    /// Answer one prompt
    Generate(GenerateArgs),
    /// Show what the model expects next
    Logits(LogitsArgs),
    /// Measure how well the model predicts a text
    Perplexity(PerplexityArgs),
    /// Measure speed
    Bench(BenchArgs),
    /// Write every shader of a loaded model to a folder, with what a step does with them
    #[command(hide = true)]
    Shaders(ShadersArgs),
    /// Describe a model file without loading it
    Inspect(InspectArgs),
    /// List the GPUs of this machine
    Devices(DevicesArgs),
    /// Fetch a known model to the cache
    Pull(PullArgs),
}

/// Which model, and in what form.
#[derive(Debug, ClapArgs)]
pub struct ModelArgs {
    /// Path, URL or known name of a model
    pub model: String,
    /// Make weights that are stored as plain numbers smaller while they are loaded
    #[arg(long, value_name = "TYPE", default_value = "none", ignore_case = true)]
    pub quantize: QuantizeArg,
}

/// Types to quantize to on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum QuantizeArg {
    /// As stored
    None,
    /// 8.5 bits a weight
    #[value(name = "q8_0")]
    Q8_0,
    /// 4.5 bits a weight; the LM head 8.5
    #[value(name = "q4_0")]
    Q4_0,
    /// 4.5 bits a weight, nearer to them than q4_0, but slower to make; the LM head 8.5
    #[value(name = "q4_k")]
    Q4K,
}

impl ModelArgs {
    /// For opening the model.
    pub fn quantize(&self) -> Quantize {
        match self.quantize {
            QuantizeArg::None => Quantize::None,
            QuantizeArg::Q8_0 => Quantize::Q8_0,
            QuantizeArg::Q4_0 => Quantize::Q4_0,
            QuantizeArg::Q4K => Quantize::Q4K,
        }
    }
}

/// Where and how to run.
#[derive(Debug, ClapArgs)]
pub struct DeviceArgs {
    /// Run on the GPU with this in its name (see `kinglet devices`)
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// Use only what this tier of GPUs has
    #[arg(long, ignore_case = true)]
    pub tier: Option<TierArg>,
    /// Take no more of the GPU's memory than this; conversations grow until it is used up
    #[arg(long, value_name = "GIB", value_parser = gibibytes)]
    pub budget: Option<u64>,
    /// Number type of the KV cache
    #[arg(long, default_value = "f16", ignore_case = true)]
    pub kv_type: KvTypeArg,
    /// Choose kernels by a table instead of measuring once which are quickest on this GPU
    #[arg(long, conflicts_with = "tune")]
    pub no_tune: bool,
    /// Measure even on a software GPU, where a table chooses otherwise
    #[arg(long)]
    pub tune: bool,
    /// Never round inputs of products to 8 bits, even where that is quicker
    #[arg(long)]
    pub exact: bool,
}

/// Tiers on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TierArg {
    /// f16 arithmetic, subgroups and dot products of bytes, even where the GPU only emulates these
    #[value(name = "a+")]
    APlus,
    /// f16 arithmetic and subgroups
    A,
    /// f16 arithmetic
    B,
    /// Neither
    C,
}

/// KV types on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum KvTypeArg {
    /// Half precision
    F16,
    /// Single precision: twice the memory
    F32,
    /// Blocks of 32 bytes: about half of f16's memory
    #[value(name = "q8_0")]
    Q8_0,
    /// Blocks of 32 nibbles: about a quarter, and answers suffer
    #[value(name = "q4_0")]
    Q4_0,
}

impl KvTypeArg {
    /// For loading.
    pub fn get(self) -> KvType {
        match self {
            Self::F16 => KvType::F16,
            Self::F32 => KvType::F32,
            Self::Q8_0 => KvType::Q8_0,
            Self::Q4_0 => KvType::Q4_0,
        }
    }
}

impl DeviceArgs {
    /// For opening the GPU.
    pub fn gpu(&self) -> GpuOptions {
        let tier = self.tier.map(|tier| match tier {
            TierArg::APlus => Tier::APlus,
            TierArg::A => Tier::A,
            TierArg::B => Tier::B,
            TierArg::C => Tier::C,
        });
        let adapter = AdapterChoice { name: self.adapter.clone(), tier };
        GpuOptions { adapter, memory_bytes: self.budget, ..GpuOptions::default() }
    }

    /// For loading with a context of so many tokens.
    pub fn load(&self, context: Option<u32>) -> LoadOptions {
        let measure = match (self.no_tune, self.tune) {
            (true, _) => Measure::Never,
            (_, true) => Measure::Everywhere,
            _ => Measure::Gpus,
        };
        let tuning = TuningOptions { stored: None, measure, exact: self.exact };
        LoadOptions { context, kv_type: self.kv_type.get(), tuning }
    }
}

/// How to answer.
#[derive(Debug, ClapArgs)]
pub struct AnswerArgs {
    /// Most tokens of an answer [default: as the context has room for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,
    /// Randomness; 0 always takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = SamplingParams::default().temperature)]
    pub temperature: f32,
    /// Draw from the K likeliest tokens; 0 is off
    #[arg(long, value_name = "K", default_value_t = SamplingParams::default().top_k)]
    pub top_k: u32,
    /// Draw from the likeliest tokens that have the share P together; 1 is off
    #[arg(long, value_name = "P", default_value_t = SamplingParams::default().top_p)]
    pub top_p: f32,
    /// Leave out tokens with less than the share P of the likeliest one's; 0 is off
    #[arg(long, value_name = "P", default_value_t = SamplingParams::default().min_p)]
    pub min_p: f32,
    /// Make tokens that were there already less likely; 1 is off
    #[arg(long, value_name = "R", default_value_t = SamplingParams::default().repeat_penalty)]
    pub repeat_penalty: f32,
    /// Same seed, same answer [default: another one each time]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "STR", value_parser = NonEmptyStringValueParser::new())]
    pub stop: Vec<String>,
    /// Tokens that prompt and answer may have together [default: the model's own (LongRoPE: its original one), at most 131072]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub ctx: Option<u32>,
}

impl AnswerArgs {
    /// For the engine; without a seed, each call gives another one.
    pub fn params(&self) -> GenerateParams {
        let sampling = SamplingParams {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            // A new hasher's keys are random.
            seed: self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish()),
        };
        GenerateParams { max_tokens: self.max_tokens, sampling, stop: self.stop.clone(), ignore_eos: false }
    }
}

/// `kinglet chat`
#[derive(Debug, ClapArgs)]
pub struct ChatArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// What the model is told before the chat
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    #[command(flatten)]
    pub answer: AnswerArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `kinglet generate`
#[derive(Debug, ClapArgs)]
#[command(group(ArgGroup::new("question").required(true).args(["prompt", "chat"])))]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Raw text to go on with
    #[arg(long, value_name = "P")]
    pub prompt: Option<String>,
    /// A message to answer, put into the model's chat template
    #[arg(long, value_name = "USER")]
    pub chat: Option<String>,
    /// What the model is told before the message
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt")]
    pub system: Option<String>,
    #[command(flatten)]
    pub answer: AnswerArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print one JSON object instead of the text
    #[arg(long)]
    pub json: bool,
}

/// `kinglet logits`
#[derive(Debug, ClapArgs)]
#[command(group(ArgGroup::new("text").required(true).args(["prompt", "ids"])))]
pub struct LogitsArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Raw text
    #[arg(long, value_name = "P")]
    pub prompt: Option<String>,
    /// Token ids
    #[arg(long, value_name = "ID,ID…", value_delimiter = ',')]
    pub ids: Option<Vec<u32>>,
    /// How many of the likeliest tokens to show
    #[arg(long, value_name = "K", default_value_t = 5)]
    pub top: usize,
    /// Also show the likeliest token at every position and how far ahead it is
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `kinglet perplexity`
#[derive(Debug, ClapArgs)]
pub struct PerplexityArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// A UTF-8 text
    #[arg(long, value_name = "F")]
    pub file: PathBuf,
    /// Only the text's first N tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub tokens: Option<u32>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `kinglet bench`
#[derive(Debug, ClapArgs)]
pub struct BenchArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Lengths of prompts
    #[arg(long, value_name = "N,N…", value_delimiter = ',', default_value = "128,512",
        value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub prefill: Vec<u32>,
    /// Length of the answer
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub decode: u32,
    /// Tokens in the context before the answer
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub depth: u32,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Also time every kernel of one decode step and of one prefill chunk on the GPU
    #[arg(long)]
    pub profile: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `kinglet shaders`
#[derive(Debug, ClapArgs)]
pub struct ShadersArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Position of the decode step
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub position: u32,
    /// Choose kernels as for GPUs of this maker (amd, apple, arm, intel, nvidia, qualcomm, other) [default: for the GPU at hand]
    #[arg(long, value_name = "MAKER")]
    pub maker: Option<String>,
    /// Tokens that prompt and answer may have together [default: the model's own (LongRoPE: its original one), at most 131072]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub ctx: Option<u32>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `kinglet inspect`
#[derive(Debug, ClapArgs)]
pub struct InspectArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Tokens that prompt and answer may have together [default: as for loading, and what it takes at first]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub ctx: Option<u32>,
    /// Number type of the KV cache
    #[arg(long, default_value = "f16", ignore_case = true)]
    pub kv_type: KvTypeArg,
    /// Say whether it fits this GPU: its number in `kinglet devices`, or a part of its name
    #[arg(long, value_name = "N")]
    pub device: Option<String>,
    /// Say whether it fits so much memory
    #[arg(long, value_name = "GIB", value_parser = gibibytes)]
    pub budget: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Bytes of so many GiB.
fn gibibytes(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 && number < 1e6 => Ok((number * f64::from(1 << 30)) as u64),
        _ => Err("it should be a number of GiB above 0".into()),
    }
}

/// `kinglet devices`
#[derive(Debug, ClapArgs)]
pub struct DevicesArgs {
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// `kinglet pull`
#[derive(Debug, ClapArgs)]
pub struct PullArgs {
    /// Name of a known model
    pub name: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::Args;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn prompt_or_chat_but_not_both() {
        let parse = |line: &str| Args::try_parse_from(line.split(' ')).is_ok();
        assert!(parse("kinglet generate m --prompt p"));
        assert!(parse("kinglet generate m --chat p --system s --tier A+ --kv-type F32 --stop a --stop b"));
        assert!(!parse("kinglet generate m"));
        assert!(!parse("kinglet generate m --prompt p --chat c"));
        assert!(!parse("kinglet generate m --prompt p --system s"));
        assert!(!parse("kinglet generate m --prompt p --max-tokens 0"));
        assert!(parse("kinglet logits m --ids 1,2,3"));
        assert!(!parse("kinglet logits m --ids 1,x"));
        assert!(!parse("kinglet logits m"));
        assert!(!parse("kinglet logits m --ids 1 --prompt p"));
        assert!(!parse("kinglet perplexity m --file f --tokens 1"));
        assert!(!parse("kinglet bench m --prefill 128,0"));
    }
}
