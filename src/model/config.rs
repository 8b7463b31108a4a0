//! What a model is, as data: read from a GGUF file's metadata, the same for every family.

use super::family::{self, Family, LocalRope, Positions, Residual};
use super::keys::Keys;
use crate::kernels::{Activation, NormKind};
use crate::weights::gguf::{GgufError, Metadata, TensorInfo};

/// Why a file's description of its model cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "each field is named in its message")]
pub enum ConfigError {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error("the file has no metadata key `{key}`, which a model needs; is it a model at all?")]
    MissingKey { key: String },
    #[error("the architecture `{architecture}` is not supported yet; these are: {known}")]
    UnknownArchitecture { architecture: String, known: String },
    #[error("metadata key `{key}` is {value}, {problem}")]
    BadValue { key: String, value: String, problem: String },
    #[error(
        "metadata key `{key}` = {value} is not known for the architecture `{architecture}`; ignoring it might give wrong answers, so Kinglet does not"
    )]
    UnknownKey { key: String, value: String, architecture: String },
    #[error(
        "tensors `{tensor}` and `{other}` have different types, and Kinglet needs experts' gate and up matrices in the same one"
    )]
    DifferentTypes { tensor: String, other: String },
    #[error("the file has no tensor `{tensor}`, which the architecture `{architecture}` needs")]
    MissingTensor { tensor: String, architecture: String },
    #[error("tensor `{tensor}` has the dimensions {found:?} and should have {expected:?}")]
    WrongShape { tensor: String, found: Vec<u64>, expected: Vec<u64> },
    #[error(
        "tensor `{tensor}` is not known for the architecture `{architecture}`; running without it would give wrong answers, so Kinglet does not"
    )]
    UnknownTensor { tensor: String, architecture: String },
}

/// The longest context that is not asked for: attention's partial results take memory for all of it.
pub const DEFAULT_CONTEXT: u32 = 131_072;

/// How RoPE's frequencies are stretched beyond the context that a model was trained with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies divided by a factor (Chen et al. 2023).
    Linear {
        /// `rope.scaling.factor`
        factor: f64,
    },
    /// Low frequencies divided, high ones kept, a ramp between them (Peng et al. 2023).
    Yarn {
        /// `rope.scaling.factor`
        factor: f64,
        /// `rope.scaling.original_context_length`
        original_context: f64,
        /// `rope.scaling.yarn_beta_fast`, 32 unless given.
        beta_fast: f64,
        /// `rope.scaling.yarn_beta_slow`, 1 unless given.
        beta_slow: f64,
    },
    /// Each frequency divided by its own factor (LongRoPE, Ding et al. 2024): one tensor of factors for contexts up to the original one,
    /// another for longer ones.
    Long {
        /// `rope.scaling.original_context_length`
        original_context: u32,
    },
}

/// Which elements of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RopeLayout {
    /// Elements 2i and 2i + 1, as the kernels have it.
    Interleaved,
    /// Elements i and i + `dims` / 2: rows of queries and keys are reordered when they are loaded.
    HalfSplit,
}

/// Rotary position embedding (Su et al. 2021).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Leading elements of a head that are turned (`rope.dimension_count`).
    pub dims: u32,
    /// Which go together.
    pub layout: RopeLayout,
    /// `rope.freq_base`
    pub base: f64,
    /// Stretching.
    pub scaling: RopeScaling,
    /// Factor on sine and cosine: `rope.scaling.attn_factor`, times what YaRN computes.
    pub attention_factor: f64,
}

/// A feed-forward network of which each token uses a few (Shazeer et al. 2017).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experts {
    /// `expert_count`
    pub count: u32,
    /// `expert_used_count`
    pub used: u32,
    /// Length of an expert's hidden row (`expert_feed_forward_length`).
    pub feed_forward: u32,
    /// The chosen experts' weights are made to sum to 1.
    pub normalized: bool,
    /// Factor on their weights (`expert_weights_scale`).
    pub scale: f32,
    /// Length of the shared expert's hidden row; 0 without one.
    pub shared: u32,
}

/// Everything about a model but its weights. Keys are GGUF's, without the architecture's prefix.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `general.architecture`
    pub architecture: String,
    /// `general.name`, or the architecture.
    pub name: String,
    /// Rows of the token embedding.
    pub vocab: u32,
    /// `block_count`
    pub layers: u32,
    /// `embedding_length`
    pub embedding: u32,
    /// `feed_forward_length`
    pub feed_forward: u32,
    /// `attention.head_count`
    pub heads: u32,
    /// `attention.head_count_kv`
    pub kv_heads: u32,
    /// `attention.key_length`, or embedding / heads.
    pub head_dim: u32,
    /// `context_length`
    pub context: u32,
    /// Of every norm but those of queries and keys, which have the same kind too.
    pub norm: NormKind,
    /// Norms have neither weights nor biases.
    pub bare_norms: bool,
    /// `attention.layer_norm_rms_epsilon` or `attention.layer_norm_epsilon`
    pub epsilon: f32,
    /// Positions turn queries and keys.
    pub rope: Option<Rope>,
    /// RoPE of layers with a window, where it is another (Gemma 3).
    pub local_rope: Option<Rope>,
    /// Only layers with a window have RoPE (Cohere 2).
    pub rope_is_local: bool,
    /// Every so many layers there is one without RoPE (SmolLM3); 0 for none.
    pub no_rope_every: u32,
    /// t and n of the factor `1 + t ln(1 + ⌊position / n⌋)` on queries (`attention.temperature_scale`), if there is one.
    pub temperature: Option<(f32, u32)>,
    /// The greatest exponent of ALiBi's slopes (`attention.max_alibi_bias`); 0 without ALiBi.
    pub alibi: f32,
    /// Positions have embeddings, which are added to the tokens'.
    pub learned_positions: bool,
    /// `attention.sliding_window`
    pub window: u32,
    /// For each layer: it has the window.
    pub local: Vec<bool>,
    /// Factor on attention's scores (`attention.scale`).
    pub attention_scale: f32,
    /// `attn_logit_softcapping`; 0 for none.
    pub attention_soft_cap: f32,
    /// `attention.clamp_kqv`; 0 for none.
    pub clamp: f32,
    /// Of the feed-forward network, or of its gate.
    pub activation: Activation,
    /// Attention and feed-forward network read the same residual stream.
    pub parallel: bool,
    /// Factor on embeddings.
    pub embedding_scale: f32,
    /// Factor on what a half of a block adds (`residual_scale`).
    pub residual_scale: f32,
    /// Factor on logits.
    pub logit_scale: f32,
    /// `final_logit_softcapping`; 0 for none.
    pub logit_soft_cap: f32,
    /// A mixture of experts.
    pub experts: Option<Experts>,
}

/// Most heads, and most elements of a head.
const MOST_HEADS: u32 = 1 << 12;

impl ModelConfig {
    /// Reads the configuration of a supported architecture.
    ///
    /// # Errors
    /// [`ConfigError`] names the key or tensor.
    pub fn from_gguf(metadata: &Metadata, tensors: &[TensorInfo]) -> Result<Self, ConfigError> {
        let architecture = metadata
            .string("general.architecture")?
            .ok_or_else(|| ConfigError::MissingKey { key: "general.architecture".into() })?;
        let family = family::find(architecture)?;
        let keys = Keys::new(metadata, architecture);
        let has = |name: &str| tensors.iter().any(|tensor| tensor.name == name);

        let embedding = keys.needed_size("embedding_length", 1 << 17)?;
        if !embedding.is_multiple_of(8) {
            return Err(keys.bad("embedding_length", embedding, "and Kinglet runs multiples of 8"));
        }
        let layers = keys.needed_size("block_count", 1 << 10)?;
        let (heads, kv_heads, head_dim) = heads(&keys, embedding)?;
        let vocab = vocabulary(architecture, tensors, embedding)?;
        let context = keys.size("context_length", 1 << 24)?.unwrap_or(2048);
        let feed_forward = keys.needed_size("feed_forward_length", 1 << 20)? / if family.halved_feed_forward { 2 } else { 1 };
        let epsilon_key = match family.norm {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        };
        let epsilon = keys.positive(epsilon_key)?.ok_or_else(|| ConfigError::MissingKey { key: keys.key(epsilon_key) })?;
        let parallel = match family.residual {
            Residual::Serial => false,
            Residual::Parallel => true,
            Residual::AsKey => keys.bool("use_parallel_residual")?.unwrap_or(true),
            Residual::AsNorms => !has("blk.0.ffn_norm.weight"),
        };
        let turns = match family.positions {
            Positions::Rope(_) => true,
            Positions::Learned | Positions::Alibi(_) => false,
            Positions::RopeUnlessLayers(layers_with_alibi, _) => layers != layers_with_alibi,
        };
        let turns = turns && !(family.finetuned_says_rope && keys.bool("rope.scaling.finetuned")? == Some(false));
        let rope = if turns { Some(rope(&keys, family, head_dim, context, has("rope_factors_long.weight"))?) } else { None };
        let alibi = match family.positions {
            Positions::Alibi(default) => cap(&keys, "attention.max_alibi_bias", default)?,
            Positions::RopeUnlessLayers(..) if !turns => cap(&keys, "attention.max_alibi_bias", 8.0)?,
            _ => 0.0,
        };
        let learned_positions = match family.positions {
            Positions::Learned => true,
            Positions::Alibi(_) => alibi == 0.0,
            _ => false,
        };
        let window = keys.number("attention.sliding_window", 1 << 24)?.or(family.window).unwrap_or(0);
        let has_window = !family.ignores_window && family.window_with_layers.is_none_or(|size| size == layers);
        let window = if has_window { window } else { 0 };
        let local = local_layers(&keys, family, window, layers)?;
        let local_base = keys.positive("rope.freq_base_swa")?;
        let unscaled = |rope: Rope, base| Rope { base, scaling: RopeScaling::None, attention_factor: 1.0, ..rope };
        let local_rope = rope.filter(|_| window > 0).and_then(|rope| match family.local_rope {
            LocalRope::Base(base) => Some(unscaled(rope, local_base.unwrap_or(base))),
            LocalRope::Unscaled => Some(unscaled(rope, local_base.unwrap_or(rope.base))),
            LocalRope::Same | LocalRope::Only => local_base.map(|base| Rope { base, ..rope }),
        });
        let scale_of = |dim: u32| 1.0 / f64::from(dim).sqrt();
        let attention_scale = match family.attention_scale_by_embedding {
            Some(large) if layers == large => scale_of(embedding / heads),
            _ => scale_of(head_dim),
        };
        let config = Self {
            architecture: architecture.into(),
            name: metadata.string("general.name")?.unwrap_or(architecture).into(),
            vocab,
            layers,
            embedding,
            feed_forward,
            heads,
            kv_heads,
            head_dim,
            context,
            norm: family.norm,
            bare_norms: family.bare_norms,
            epsilon: epsilon as f32,
            rope,
            local_rope,
            rope_is_local: window > 0 && family.local_rope == LocalRope::Only,
            temperature: temperature(&keys, context)?,
            no_rope_every: family.no_rope_every,
            alibi,
            learned_positions,
            window,
            local,
            attention_scale: factor(&keys, "attention.scale", &family::LLAMA)?.unwrap_or(attention_scale) as f32,
            attention_soft_cap: cap(&keys, "attn_logit_softcapping", family.soft_caps[0])?,
            clamp: cap(&keys, "attention.clamp_kqv", 0.0)?,
            activation: family.activation,
            parallel,
            embedding_scale: match factor(&keys, "embedding_scale", family)? {
                None if family.embedding_scaled => f64::from(embedding).sqrt() as f32,
                scale => scale.unwrap_or(1.0) as f32,
            },
            residual_scale: factor(&keys, "residual_scale", family)?.unwrap_or(1.0) as f32,
            logit_scale: match factor(&keys, "logit_scale", family)? {
                Some(scale) if family.divides_logits && (1.0 / scale) as f32 == f32::INFINITY => {
                    return Err(keys.bad("logit_scale", scale, "which is too small to divide by"));
                }
                Some(scale) if family.divides_logits => (1.0 / scale) as f32,
                scale => scale.unwrap_or(1.0) as f32,
            },
            logit_soft_cap: cap(&keys, "final_logit_softcapping", family.soft_caps[1])?,
            experts: experts(&keys, family, feed_forward, tensors)?,
        };
        keys.refuse_unknown()?;
        Ok(config)
    }

    /// Positions that a layer attends to; 0 for all.
    pub fn window_of(&self, layer: u32) -> u32 {
        // One as wide as the context hides nothing.
        if self.is_local(layer) && self.window < self.context { self.window } else { 0 }
    }

    /// The context unless one is asked for: the model's own, but no longer than LongRoPE's factors for short ones serve, and than
    /// [`DEFAULT_CONTEXT`].
    pub fn default_context(&self) -> u32 {
        let own = match self.rope {
            Some(Rope { scaling: RopeScaling::Long { original_context, .. }, .. }) => original_context.min(self.context),
            _ => self.context,
        };
        own.min(DEFAULT_CONTEXT)
    }

    /// How a layer's queries and keys turn.
    pub fn rope_of(&self, layer: u32) -> Option<&Rope> {
        let skipped = self.no_rope_every > 0 && (layer + 1).is_multiple_of(self.no_rope_every);
        if skipped || self.rope_is_local && !self.is_local(layer) {
            return None;
        }
        match &self.local_rope {
            Some(local) if self.is_local(layer) => Some(local),
            _ => self.rope.as_ref(),
        }
    }

    fn is_local(&self, layer: u32) -> bool {
        self.window > 0 && self.local.get(layer as usize).copied().unwrap_or(false)
    }
}

fn heads(keys: &Keys<'_>, embedding: u32) -> Result<(u32, u32, u32), ConfigError> {
    let heads = keys.needed_size("attention.head_count", MOST_HEADS)?;
    let kv_heads = keys.size("attention.head_count_kv", MOST_HEADS)?.unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        return Err(keys.bad("attention.head_count_kv", kv_heads, format!("which does not divide the {heads} heads")));
    }
    let head_dim = match keys.size("attention.key_length", MOST_HEADS)? {
        Some(dim) => dim,
        None if embedding.is_multiple_of(heads) => embedding / heads,
        None => {
            return Err(keys.bad("attention.head_count", heads, format!("which does not divide the embedding of {embedding}")));
        }
    };
    if !head_dim.is_multiple_of(8) || head_dim > 256 {
        return Err(keys.bad("attention.key_length", head_dim, "and Kinglet runs multiples of 8 up to 256"));
    }
    match keys.size("attention.value_length", MOST_HEADS)? {
        Some(value_dim) if value_dim != head_dim => {
            Err(keys.bad("attention.value_length", value_dim, format!("and Kinglet needs the key length, {head_dim}")))
        }
        _ => Ok((heads, kv_heads, head_dim)),
    }
}

fn vocabulary(architecture: &str, tensors: &[TensorInfo], embedding: u32) -> Result<u32, ConfigError> {
    let name = "token_embd.weight";
    let table = tensors
        .iter()
        .find(|tensor| tensor.name == name)
        .ok_or_else(|| ConfigError::MissingTensor { tensor: name.into(), architecture: architecture.into() })?;
    u32::try_from(table.rows()).ok().filter(|rows| (1..=1 << 20).contains(rows)).ok_or_else(|| ConfigError::WrongShape {
        tensor: name.into(),
        found: table.dims.clone(),
        expected: vec![u64::from(embedding), 1 << 20],
    })
}

/// A factor above 0; a file may say 0 for none.
fn factor(keys: &Keys<'_>, name: &str, family: &Family) -> Result<Option<f64>, ConfigError> {
    match keys.finite(name)? {
        None if family.needs_factors => Err(ConfigError::MissingKey { key: keys.key(name) }),
        Some(factor) if factor < 0.0 => Err(keys.bad(name, factor, "and should not be negative")),
        factor => Ok(factor.filter(|factor| *factor > 0.0)),
    }
}

/// How queries grow beyond the context that a model was first trained with (Nakanishi 2025).
fn temperature(keys: &Keys<'_>, context: u32) -> Result<Option<(f32, u32)>, ConfigError> {
    let original = keys.size_or_none("rope.scaling.original_context_length", 1 << 24)?.unwrap_or(context);
    Ok(factor(keys, "attention.temperature_scale", &family::LLAMA)?.map(|scale| (scale as f32, original)))
}

/// A number that limits something; 0 for none.
fn cap(keys: &Keys<'_>, name: &str, default: f32) -> Result<f32, ConfigError> {
    match keys.finite(name)? {
        None => Ok(default),
        Some(cap) if cap >= 0.0 => Ok(cap as f32),
        Some(cap) => Err(keys.bad(name, cap, "and should not be negative")),
    }
}

/// Which layers have the window: as `attention.sliding_window_pattern` says, a number n (each nth layer sees everything) or a flag a layer.
fn local_layers(keys: &Keys<'_>, family: &Family, window: u32, layers: u32) -> Result<Vec<bool>, ConfigError> {
    let name = "attention.sliding_window_pattern";
    if let Some(flags) = keys.bools(name)? {
        if flags.len() != layers as usize {
            return Err(keys.bad(name, format!("{} flags", flags.len()), format!("and there are {layers} layers")));
        }
        return Ok(flags.to_vec());
    }
    let every = keys.number(name, 1 << 10)?.unwrap_or(family.global_every);
    Ok((0..layers).map(|layer| window > 0 && (every == 0 || layer % every < every - 1)).collect())
}

fn rope(keys: &Keys<'_>, family: &Family, head_dim: u32, context: u32, long: bool) -> Result<Rope, ConfigError> {
    let dims = keys.size("rope.dimension_count", head_dim)?.unwrap_or(head_dim);
    if !dims.is_multiple_of(4) {
        return Err(keys.bad("rope.dimension_count", dims, "and should be a multiple of 4"));
    }
    let layout = match family.positions {
        Positions::Rope(layout) | Positions::RopeUnlessLayers(_, layout) => layout,
        Positions::Learned | Positions::Alibi(_) => RopeLayout::Interleaved,
    };
    // Set where a checkpoint was read that no converter to GGUF has permuted.
    let half_split = keys.metadata().bool("kinglet.rope.half_split")?.unwrap_or(false);
    let (scaling, attention_factor) = scaling(keys, context, long)?;
    Ok(Rope {
        dims,
        layout: if half_split { RopeLayout::HalfSplit } else { layout },
        base: keys.positive("rope.freq_base")?.unwrap_or(10_000.0),
        scaling,
        attention_factor,
    })
}

/// How frequencies are stretched, and the factor on sine and cosine.
fn scaling(keys: &Keys<'_>, context: u32, long: bool) -> Result<(RopeScaling, f64), ConfigError> {
    let optional = |name: &str| factor(keys, name, &family::LLAMA);
    let factor = optional("rope.scaling.factor")?.or(optional("rope.scale_linear")?);
    let original = keys.size_or_none("rope.scaling.original_context_length", 1 << 24)?;
    let given = optional("rope.scaling.attn_factor")?.unwrap_or(1.0);
    if long {
        return Ok((RopeScaling::Long { original_context: original.unwrap_or(context) }, given));
    }
    match (keys.string("rope.scaling.type")?, factor) {
        (Some("none"), _) | (None | Some("linear"), None) => Ok((RopeScaling::None, given)),
        (None | Some("linear"), Some(factor)) => Ok((RopeScaling::Linear { factor }, given)),
        (Some("yarn"), Some(factor)) => {
            let stretch = factor.max(1.0).ln();
            let multiplier = keys.finite("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
            let computed = (1.0 + 0.1 * stretch) / (1.0 + 0.1 * multiplier * stretch);
            // Written by some converters, and what follows from the other keys anyway.
            for (name, usual) in [("rope.scaling.yarn_attn_factor", computed), ("rope.scaling.yarn_ext_factor", 1.0)] {
                if let Some(value) = keys.finite(name)?.filter(|value| (value - usual).abs() > 1e-3) {
                    return Err(keys.bad(name, value, format!("and Kinglet knows {usual:.4} only")));
                }
            }
            let scaling = RopeScaling::Yarn {
                factor,
                original_context: f64::from(original.unwrap_or(context)),
                beta_fast: optional("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: optional("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            };
            Ok((scaling, given * computed))
        }
        (Some("yarn"), None) => Err(ConfigError::MissingKey { key: keys.key("rope.scaling.factor") }),
        (Some(other), _) => Err(keys.bad("rope.scaling.type", other, "and Kinglet knows none, linear and yarn")),
    }
}

fn experts(keys: &Keys<'_>, family: &Family, feed_forward: u32, tensors: &[TensorInfo]) -> Result<Option<Experts>, ConfigError> {
    let Some(count) = keys.size_or_none("expert_count", 1 << 10)? else { return Ok(None) };
    let used = keys.needed_size("expert_used_count", count)?;
    // 1 is softmax, and so is every family here where the file does not say.
    if let Some(function) = keys.number("expert_gating_func", 1 << 8)?.filter(|function| *function > 1) {
        return Err(keys.bad("expert_gating_func", function, "and Kinglet knows 1 only, softmax"));
    }
    // Keys count the shared expert's hidden row in two ways; the tensor knows.
    let shared = match tensors.iter().find(|tensor| tensor.name.ends_with(".ffn_up_shexp.weight")) {
        None => 0,
        Some(up) => u32::try_from(up.rows()).ok().filter(|rows| (1..=1 << 20).contains(rows)).ok_or_else(|| {
            ConfigError::WrongShape { tensor: up.name.clone(), found: up.dims.clone(), expected: vec![up.columns(), 1 << 20] }
        })?,
    };
    Ok(Some(Experts {
        count,
        used,
        feed_forward: keys.size("expert_feed_forward_length", 1 << 20)?.unwrap_or(feed_forward),
        normalized: keys.bool("expert_weights_norm")?.unwrap_or(family.normalizes_experts),
        scale: factor(keys, "expert_weights_scale", &family::LLAMA)?.map_or(1.0, |scale| scale as f32),
        shared,
    }))
}
