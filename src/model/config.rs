//! What a model is, as data: read from a GGUF file's metadata, the same for every family.

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
    #[error("the file has no tensor `{tensor}`, which the architecture `{architecture}` needs")]
    MissingTensor { tensor: String, architecture: String },
    #[error("tensor `{tensor}` has the dimensions {found:?} and should have {expected:?}")]
    WrongShape { tensor: String, found: Vec<u64>, expected: Vec<u64> },
    #[error(
        "tensor `{tensor}` is not known for the architecture `{architecture}`; running without it would give wrong answers, so Kinglet does not"
    )]
    UnknownTensor { tensor: String, architecture: String },
}

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
        /// Factor on sine and cosine.
        attention_factor: f64,
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
    /// `attention.layer_norm_rms_epsilon`
    pub rms_epsilon: f32,
    /// Position.
    pub rope: Rope,
}

/// Metadata under one architecture's prefix.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn bad(&self, name: &str, value: impl ToString, problem: impl Into<String>) -> ConfigError {
        ConfigError::BadValue { key: self.key(name), value: value.to_string(), problem: problem.into() }
    }

    /// A whole number in 1..=`most`.
    fn size(&self, name: &str, most: u32) -> Result<Option<u32>, ConfigError> {
        let key = self.key(name);
        let Some(value) = self.metadata.u64(&key)? else { return Ok(None) };
        match u32::try_from(value) {
            Ok(size) if (1..=most).contains(&size) => Ok(Some(size)),
            _ => Err(self.bad(name, value, format!("and should be between 1 and {most}"))),
        }
    }

    fn needed_size(&self, name: &str, most: u32) -> Result<u32, ConfigError> {
        self.size(name, most)?.ok_or_else(|| ConfigError::MissingKey { key: self.key(name) })
    }

    /// A finite number above 0.
    fn positive(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.metadata.f32(&self.key(name))? else { return Ok(None) };
        if value.is_finite() && value > 0.0 {
            Ok(Some(f64::from(value)))
        } else {
            Err(self.bad(name, value, "and should be a finite number above 0"))
        }
    }
}

impl ModelConfig {
    /// Reads the configuration of a supported architecture.
    ///
    /// # Errors
    /// [`ConfigError`] names the key or tensor.
    pub fn from_gguf(metadata: &Metadata, tensors: &[TensorInfo]) -> Result<Self, ConfigError> {
        let architecture = metadata
            .string("general.architecture")?
            .ok_or_else(|| ConfigError::MissingKey { key: "general.architecture".into() })?;
        let mut layout = super::family::rope_layout(architecture)?;
        if metadata.bool("kinglet.rope.half_split")? == Some(true) {
            layout = RopeLayout::HalfSplit;
        }
        let keys = Keys { metadata, architecture };

        let embedding = keys.needed_size("embedding_length", 1 << 17)?;
        let heads = keys.needed_size("attention.head_count", 1 << 12)?;
        let kv_heads = keys.size("attention.head_count_kv", 1 << 12)?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(keys.bad("attention.head_count_kv", kv_heads, format!("which does not divide the {heads} heads")));
        }
        let head_dim = match keys.size("attention.key_length", 1 << 10)? {
            Some(dim) => dim,
            None if embedding.is_multiple_of(heads) => embedding / heads,
            None => {
                return Err(keys.bad("attention.head_count", heads, format!("which does not divide the embedding of {embedding}")));
            }
        };
        if !head_dim.is_multiple_of(8) || head_dim > 256 {
            return Err(keys.bad("attention.key_length", head_dim, "and Kinglet runs multiples of 8 up to 256"));
        }
        if let Some(value_dim) = keys.size("attention.value_length", 1 << 10)?
            && value_dim != head_dim
        {
            return Err(keys.bad("attention.value_length", value_dim, format!("and Kinglet needs the key length, {head_dim}")));
        }
        let token_embedding = tensors
            .iter()
            .find(|tensor| tensor.name == "token_embd.weight")
            .ok_or_else(|| ConfigError::MissingTensor { tensor: "token_embd.weight".into(), architecture: architecture.into() })?;
        let vocab = u32::try_from(token_embedding.rows()).ok().filter(|rows| (1..=1 << 20).contains(rows)).ok_or_else(|| {
            ConfigError::WrongShape {
                tensor: token_embedding.name.clone(),
                found: token_embedding.dims.clone(),
                expected: vec![u64::from(embedding), 1 << 20],
            }
        })?;
        let dims = keys.size("rope.dimension_count", head_dim)?.unwrap_or(head_dim);
        if !dims.is_multiple_of(4) {
            return Err(keys.bad("rope.dimension_count", dims, "and should be a multiple of 4"));
        }
        let epsilon = keys
            .positive("attention.layer_norm_rms_epsilon")?
            .ok_or_else(|| ConfigError::MissingKey { key: keys.key("attention.layer_norm_rms_epsilon") })?;
        let context = keys.size("context_length", 1 << 24)?.unwrap_or(2048);
        Ok(Self {
            architecture: architecture.into(),
            name: metadata.string("general.name")?.unwrap_or(architecture).into(),
            vocab,
            layers: keys.needed_size("block_count", 1 << 10)?,
            embedding,
            feed_forward: keys.needed_size("feed_forward_length", 1 << 20)?,
            heads,
            kv_heads,
            head_dim,
            context,
            rms_epsilon: epsilon as f32,
            rope: Rope {
                dims,
                layout,
                base: keys.positive("rope.freq_base")?.unwrap_or(10_000.0),
                scaling: scaling(&keys, context)?,
            },
        })
    }
}

fn scaling(keys: &Keys<'_>, context: u32) -> Result<RopeScaling, ConfigError> {
    let factor = keys.positive("rope.scaling.factor")?.or(keys.positive("rope.scale_linear")?);
    let kind = keys.metadata.string(&keys.key("rope.scaling.type"))?;
    let needed = || factor.ok_or_else(|| ConfigError::MissingKey { key: keys.key("rope.scaling.factor") });
    match kind {
        Some("none") => Ok(RopeScaling::None),
        None => Ok(factor.map_or(RopeScaling::None, |factor| RopeScaling::Linear { factor })),
        Some("linear") => Ok(RopeScaling::Linear { factor: needed()? }),
        Some("yarn") => {
            let factor = needed()?;
            let original = keys.size("rope.scaling.original_context_length", 1 << 24)?;
            let given = keys.positive("rope.scaling.attn_factor")?.unwrap_or(1.0);
            Ok(RopeScaling::Yarn {
                factor,
                original_context: f64::from(original.unwrap_or(context)),
                beta_fast: keys.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: keys.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                attention_factor: given * (1.0 + 0.1 * factor.max(1.0).ln()),
            })
        }
        Some(other) => Err(keys.bad("rope.scaling.type", other, "and Kinglet knows none, linear and yarn")),
    }
}
