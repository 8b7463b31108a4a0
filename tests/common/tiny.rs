//! Tiny random models as GGUF files, and their exact weights for the reference.

use super::ggufwriter::GgufWriter;
use super::gpu::Random;
use super::reference::Tensors;
use super::weights::{dequantize, tensor_type};
use kinglet::kernels::Format;

/// Sizes and types of a tiny model of the llama family.
#[derive(Clone, Debug)]
pub struct Tiny {
    pub layers: u32,
    pub embedding: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub feed_forward: u32,
    pub vocab: u32,
    pub context: u32,
    /// Of q and k, of v, of everything else.
    pub formats: [Format; 3],
    /// Of ffn_up, if not that of everything else.
    pub up_format: Option<Format>,
    pub tied: bool,
    /// `rope.scaling.type` and its factor.
    pub scaling: Option<(&'static str, f32)>,
    pub rope_factors: bool,
    /// `tokenizer.chat_template`
    pub template: Option<&'static str>,
    /// A SentencePiece vocabulary: the bytes, and then words that all begin with a space.
    pub sentencepiece: bool,
}

impl Default for Tiny {
    fn default() -> Self {
        Self {
            layers: 2,
            embedding: 96,
            heads: 4,
            kv_heads: 2,
            head_dim: 24,
            feed_forward: 160,
            vocab: 301,
            context: 512,
            formats: [Format::F32; 3],
            up_format: None,
            tied: true,
            scaling: None,
            rope_factors: false,
            template: None,
            sentencepiece: false,
        }
    }
}

/// ggml's id of a format.
fn type_id(format: Format) -> u32 {
    tensor_type(format).id()
}

impl Tiny {
    /// The file's bytes and the weights in it.
    pub fn build(&self, seed: u64) -> (Vec<u8>, Tensors) {
        let (file, tensors) = self.file(seed);
        (file.bytes(), tensors)
    }

    /// The file and the weights in it.
    pub fn file(&self, seed: u64) -> (GgufWriter, Tensors) {
        let mut random = Random(seed);
        let mut tensors = Tensors::new();
        let mut file = self.metadata();
        let (e, f) = (self.embedding, self.feed_forward);
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let [qk, v, rest] = self.formats;
        let mut matrices = vec![("token_embd.weight".to_owned(), self.vocab, e, rest)];
        if !self.tied {
            matrices.push(("output.weight".to_owned(), self.vocab, e, rest));
        }
        let mut norms = vec!["output_norm.weight".to_owned()];
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            norms.extend([name("attn_norm"), name("ffn_norm")]);
            matrices.extend([
                (name("attn_q"), q, e, qk),
                (name("attn_k"), kv, e, qk),
                (name("attn_v"), kv, e, v),
                (name("attn_output"), e, q, rest),
                (name("ffn_gate"), f, e, rest),
                (name("ffn_up"), f, e, self.up_format.unwrap_or(rest)),
                (name("ffn_down"), e, f, rest),
            ]);
        }
        for (name, rows, k, format) in matrices {
            let bytes = random.weights(format, rows, k);
            tensors.insert(name.clone(), dequantize(format, &bytes).into_iter().map(f64::from).collect());
            file = file.tensor(&name, &[k.into(), rows.into()], type_id(format), bytes);
        }
        let mut vectors: Vec<(String, Vec<f32>)> = norms
            .into_iter()
            .map(|name| {
                // Queries and keys small enough that scores are a few units apart, as in trained models: a softmax of scores in the
                // hundreds makes so much of every rounding that f32 itself is off by 2e-5.
                let size = if name.contains("attn_norm") { 0.25 } else { 1.0 };
                (name, random.vector(e as usize).iter().map(|x| size * (1.0 + 0.3 * x)).collect())
            })
            .collect();
        if self.rope_factors {
            vectors.push(("rope_freqs.weight".into(), (0..self.head_dim / 2).map(|i| 1.0 + 0.5 * i as f32).collect()));
        }
        for (name, numbers) in vectors {
            tensors.insert(name.clone(), numbers.iter().map(|x| f64::from(*x)).collect());
            file = file.f32_tensor(&name, &[numbers.len() as u64], &numbers);
        }
        (file, tensors)
    }

    /// The metadata, with a vocabulary padded to size.
    pub fn metadata(&self) -> GgufWriter {
        let file = GgufWriter::new()
            .string("general.architecture", "llama")
            .string("general.name", "tiny")
            .u32("llama.block_count", self.layers)
            .u32("llama.embedding_length", self.embedding)
            .u32("llama.feed_forward_length", self.feed_forward)
            .u32("llama.attention.head_count", self.heads)
            .u32("llama.attention.head_count_kv", self.kv_heads)
            .u32("llama.attention.key_length", self.head_dim)
            .u32("llama.attention.value_length", self.head_dim)
            .u32("llama.rope.dimension_count", self.head_dim)
            .u32("llama.context_length", self.context)
            .f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
        let mut file = if self.sentencepiece { self.sentencepiece(file) } else { self.byte_level(file) };
        if let Some(template) = self.template {
            file = file.string("tokenizer.chat_template", template);
        }
        if let Some((kind, factor)) = self.scaling {
            file = file
                .string("llama.rope.scaling.type", kind)
                .f32("llama.rope.scaling.factor", factor)
                .u32("llama.rope.scaling.original_context_length", self.context / 4);
        }
        file
    }
}

impl Tiny {
    /// The 256 bytes and two special tokens.
    fn byte_level(&self, file: GgufWriter) -> GgufWriter {
        let mut tokens: Vec<String> = byte_alphabet();
        tokens.extend(["<|im_start|>".into(), "<|im_end|>".into()]);
        for i in tokens.len()..self.vocab as usize {
            tokens.push(format!("<unused{i}>"));
        }
        let types: Vec<i32> = (0..tokens.len()).map(|i| if i < 256 { 1 } else { 3 }).collect();
        file.string("tokenizer.ggml.model", "gpt2")
            .string("tokenizer.ggml.pre", "gpt-2")
            .strings("tokenizer.ggml.tokens", &tokens)
            .i32s("tokenizer.ggml.token_type", &types)
            .strings("tokenizer.ggml.merges", &[] as &[&str])
            .u32("tokenizer.ggml.bos_token_id", 256)
            .u32("tokenizer.ggml.eos_token_id", 257)
    }

    /// Three special tokens, the 256 bytes, and words.
    fn sentencepiece(&self, file: GgufWriter) -> GgufWriter {
        let special = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter();
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let words = (259..self.vocab).map(|i| format!("\u{2581}w{i}"));
        let tokens: Vec<String> = special.chain(bytes).chain(words).collect();
        let kind = |i: usize| match i {
            0 => 2,
            1 | 2 => 3,
            3..259 => 6,
            _ => 1,
        };
        let types: Vec<i32> = (0..tokens.len()).map(kind).collect();
        let scores: Vec<f32> = (0..tokens.len()).map(|i| -(i as f32)).collect();
        file.string("tokenizer.ggml.model", "llama")
            .strings("tokenizer.ggml.tokens", &tokens)
            .f32s("tokenizer.ggml.scores", &scores)
            .i32s("tokenizer.ggml.token_type", &types)
    }
}

/// GPT-2's printable stand-ins for the 256 bytes, in the order of the bytes.
fn byte_alphabet() -> Vec<String> {
    let printable = |byte: u32| (33..=126).contains(&byte) || (161..=172).contains(&byte) || (174..=255).contains(&byte);
    let mut next = 256;
    (0..256)
        .map(|byte| {
            let code = if printable(byte) {
                byte
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).unwrap().to_string()
        })
        .collect()
}
