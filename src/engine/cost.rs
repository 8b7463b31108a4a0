//! What a model will take on a device, from its header alone.

use crate::kernels::{KvType, Sequence};
use crate::model::{ArenaPlan, KvBytes, ModelConfig, Shape, Widening};
use crate::weights::gguf::TensorInfo;
use crate::weights::{CHUNK_BYTES, matrix_bytes};

/// Bytes of some of a model's tensors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct WeightCost {
    /// In the file, or as they are read.
    pub file_bytes: u64,
    /// On the device, in the kernels' layout.
    pub gpu_bytes: u64,
}

/// What a model takes on a device, in bytes. Weights of a type that is widened while it is loaded count as what they become. The weights and the KV cache are exact but for rounding; activations are those of the largest
/// chunk of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    /// Tokens that prompt and answer may have together.
    pub context: u32,
    /// Embeddings of tokens and positions.
    pub embedding: WeightCost,
    /// The transformer blocks.
    pub blocks: WeightCost,
    /// The LM head; nothing where the embedding serves.
    pub head: WeightCost,
    /// What belongs to no part, such as the last norm.
    pub other: WeightCost,
    /// Keys and values of 1024 tokens more, in layers that keep them all.
    pub kv_bytes_per_1k: u64,
    /// Keys and values of the whole context.
    pub kv_bytes: u64,
    /// Of these, what is taken when the model is loaded; the rest when a sequence gets there.
    pub kv_reserved_bytes: u64,
    /// The largest buffer that grows with the context and must fit one binding: a window's keys, or split attention's partial results.
    pub context_piece_bytes: u64,
    /// What flows between kernels.
    pub activation_bytes: u64,
    /// The buffer that weights go through while they are loaded.
    pub staging_bytes: u64,
}

impl Cost {
    /// Bytes of all weights on the device.
    pub fn weight_bytes(&self) -> u64 {
        [self.embedding, self.blocks, self.head, self.other].iter().map(|part| part.gpu_bytes).sum()
    }

    /// Bytes of everything once the whole context is in use.
    pub fn total_bytes(&self) -> u64 {
        self.weight_bytes() + self.kv_bytes + self.activation_bytes + self.staging_bytes
    }

    /// Bytes of everything when the model has been loaded, and what loading takes.
    pub fn loaded_bytes(&self) -> u64 {
        self.total_bytes() - self.kv_bytes + self.kv_reserved_bytes
    }

    /// Of a model with these tensors at a context.
    pub fn of(config: &ModelConfig, tensors: &[TensorInfo], context: u32, kv_type: KvType) -> Self {
        let [mut embedding, mut blocks, mut head, mut other] = [WeightCost::default(); 4];
        let widening = Widening::of(config, tensors);
        for tensor in tensors {
            let part = match tensor.name.split('.').next() {
                Some("token_embd" | "position_embd") => &mut embedding,
                Some("blk") => &mut blocks,
                Some("output") => &mut head,
                _ => &mut other,
            };
            part.file_bytes += tensor.bytes;
            part.gpu_bytes += gpu_bytes(tensor, &widening);
        }
        let kv = KvBytes::of(config, context, kv_type);
        let everywhere = (0..config.layers).filter(|number| config.window_of(*number) == 0).count() as u64;
        Self {
            context,
            embedding,
            blocks,
            head,
            other,
            kv_bytes_per_1k: everywhere * 2 * kv_type.bytes(1024, config.kv_heads, config.head_dim),
            kv_bytes: kv.all,
            kv_reserved_bytes: kv.reserved,
            context_piece_bytes: kv.piece,
            activation_bytes: activations(config, tensors, &widening, context, kv_type),
            staging_bytes: CHUNK_BYTES,
        }
    }

    /// The largest context up to the model's own with which everything takes at most `total` bytes, and no piece of it more than `binding`;
    /// `None` if not even one token fits.
    pub fn largest_context(config: &ModelConfig, tensors: &[TensorInfo], kv_type: KvType, total: u64, binding: u64) -> Option<u32> {
        let fits = |context: u32| {
            let cost = Self::of(config, tensors, context, kv_type);
            cost.total_bytes() <= total && cost.context_piece_bytes <= binding
        };
        let (mut low, mut high) = (0, config.context);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits(middle) { low = middle } else { high = middle - 1 }
        }
        Some(low).filter(|context| *context > 0)
    }
}

/// A tensor in the kernels' layout: vectors are F32, matrices in their format's planes.
fn gpu_bytes(tensor: &TensorInfo, widening: &Widening) -> u64 {
    if tensor.rows() == 1 {
        return 4 * tensor.elements();
    }
    widening.format(tensor).map_or(tensor.bytes, |format| matrix_bytes(tensor, format))
}

fn activations(config: &ModelConfig, tensors: &[TensorInfo], widening: &Widening, context: u32, kv_type: KvType) -> u64 {
    let has = |part: &str| tensors.iter().any(|tensor| tensor.name.starts_with("blk.") && tensor.name.ends_with(part));
    let format = |name: String| tensors.iter().find(|tensor| tensor.name == name).and_then(|tensor| widening.format(tensor));
    let apart = (0..config.layers).any(|layer| {
        let [gate, up] = ["gate", "up"].map(|part| format(format!("blk.{layer}.ffn_{part}.weight")));
        gate.is_some() && gate != up
    });
    let shape = Shape {
        between: config.clamp > 0.0 || has(".attn_q_norm.weight") || !kv_type.is_plain(),
        apart: apart || has(".ffn_gate.bias") || has(".ffn_up.bias") && has(".ffn_gate.weight"),
        attention_norm: has(".post_attention_norm.weight"),
        feed_norm: has(".post_ffw_norm.weight"),
        // A workgroup for every eight rows, or fewer.
        head_partials: config.vocab.div_ceil(8),
        context,
        segmented: KvBytes::is_segmented(config, context),
        kv_type,
    };
    ArenaPlan::of(config, &shape).bytes() + ArenaPlan::residual_bytes(config) + Sequence::bytes(config.vocab)
}
