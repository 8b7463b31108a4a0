//! config.json as GGUF metadata.

use super::HfError;
use super::family::Family;
use crate::weights::gguf::{Array, Value};
use serde_json::Value as Json;

/// config.json, or the part of it that is about the language model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Config<'a> {
    json: &'a Json,
}

impl<'a> Config<'a> {
    pub fn new(json: &'a Json) -> Self {
        Self { json }
    }

    /// A key's value; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&'a Json> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    fn wrong(key: &str, found: &Json, expected: impl Into<String>) -> HfError {
        let found: String = found.to_string().chars().take(80).collect();
        HfError::Key { key: key.to_owned(), found, expected: expected.into() }
    }

    pub fn u32(&self, key: &str) -> Result<Option<u32>, HfError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| Self::wrong(key, value, "a whole number"))
    }

    pub fn needed_u32(&self, key: &str) -> Result<u32, HfError> {
        self.u32(key)?.ok_or_else(|| Self::wrong(key, &Json::Null, "a whole number"))
    }

    pub fn f64(&self, key: &str) -> Result<Option<f64>, HfError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| Self::wrong(key, value, "a number"))
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>, HfError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| Self::wrong(key, value, "true or false"))
    }

    pub fn string(&self, key: &str) -> Result<Option<&'a str>, HfError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| Self::wrong(key, value, "a string"))
    }

    /// An error unless the key is absent or has this value: anything else would change results.
    fn only(&self, key: &str, value: &Json) -> Result<(), HfError> {
        match self.get(key) {
            Some(found) if found != value => Err(Self::wrong(key, found, format!("{value}, for Kinglet runs only that"))),
            _ => Ok(()),
        }
    }

    /// Numbers of a head.
    pub fn head_dim(&self) -> Result<u32, HfError> {
        if let Some(dim) = self.u32("head_dim")? {
            return Ok(dim);
        }
        let (embedding, heads) = (self.needed_u32("hidden_size")?, self.needed_u32("num_attention_heads")?);
        Ok(embedding / heads.max(1))
    }

    /// `rope_parameters`, or `rope_scaling` as it was called; in models with two of them, that of the layers without a window.
    pub fn rope(&self) -> Config<'a> {
        const NONE: &Json = &Json::Null;
        let json = self.get("rope_parameters").or(self.get("rope_scaling")).unwrap_or(NONE);
        Config::new(json.get("full_attention").unwrap_or(json))
    }

    /// Leading numbers of a head that turn.
    pub fn rope_dims(&self) -> Result<u32, HfError> {
        let share = self.f64("partial_rotary_factor")?.or(self.rope().f64("partial_rotary_factor")?).unwrap_or(1.0);
        Ok((share * f64::from(self.head_dim()?)) as u32)
    }
}

/// Metadata under construction.
pub(super) struct Entries {
    architecture: &'static str,
    pub list: Vec<(String, Value)>,
}

impl Entries {
    fn push(&mut self, name: &str, value: Option<Value>) {
        self.list.extend(value.map(|value| (format!("{}.{name}", self.architecture), value)));
    }

    fn u32(&mut self, name: &str, value: Option<u32>) {
        self.push(name, value.map(Value::U32));
    }

    fn f32(&mut self, name: &str, value: Option<f64>) {
        self.push(name, value.map(|value| Value::F32(value as f32)));
    }

    fn string(&mut self, name: &str, value: &str) {
        self.push(name, Some(Value::String(value.to_owned())));
    }
}

/// The metadata of a model: its architecture's keys. `name` is the folder's.
pub(super) fn metadata(family: &Family, config: Config<'_>, name: &str) -> Result<Entries, HfError> {
    let string = |text: &str| Value::String(text.to_owned());
    let list = vec![
        ("general.architecture".to_owned(), string(family.architecture)),
        ("general.name".to_owned(), string(name)),
        // GGUF's converter reorders the rows of q and k of some architectures; here they lie as they were trained.
        ("kinglet.rope.half_split".to_owned(), Value::Bool(true)),
    ];
    let mut entries = Entries { architecture: family.architecture, list };
    let head_dim = config.head_dim()?;
    entries.u32("vocab_size", config.u32("vocab_size")?);
    entries.u32("context_length", config.u32("max_position_embeddings")?);
    entries.u32("embedding_length", Some(config.needed_u32("hidden_size")?));
    entries.u32("block_count", Some(config.needed_u32("num_hidden_layers")?));
    entries.u32("feed_forward_length", Some(config.needed_u32("intermediate_size")?));
    entries.u32("attention.head_count", Some(config.needed_u32("num_attention_heads")?));
    entries.u32("attention.head_count_kv", config.u32("num_key_value_heads")?);
    entries.u32("attention.key_length", Some(head_dim));
    entries.u32("attention.value_length", Some(head_dim));
    entries.f32("attention.layer_norm_rms_epsilon", config.f64("rms_norm_eps")?.or(family.rms_epsilon));
    entries.f32("attention.layer_norm_epsilon", config.f64("layer_norm_eps")?);
    entries.u32("rope.dimension_count", Some(config.rope_dims()?));
    entries.f32("rope.freq_base", config.rope().f64("rope_theta")?.or(config.f64("rope_theta")?).or(family.rope_base));
    rope_scaling(&mut entries, config)?;
    activation(family, config)?;
    specific(&mut entries, family, config)?;
    Ok(entries)
}

fn rope_scaling(entries: &mut Entries, config: Config<'_>) -> Result<(), HfError> {
    let rope = config.rope();
    let kind = rope.string("rope_type")?.or(rope.string("type")?).unwrap_or("default");
    let needed = |key: &str| rope.f64(key)?.ok_or_else(|| Config::wrong(key, &Json::Null, "a number"));
    let original = rope.u32("original_max_position_embeddings")?.or(config.u32("original_max_position_embeddings")?);
    match kind {
        // Within the trained context `dynamic` changes nothing, and no longer one can be asked for. The factors of Llama 3 are a tensor.
        "default" | "dynamic" | "llama3" => {}
        "linear" => {
            entries.string("rope.scaling.type", "linear");
            entries.f32("rope.scaling.factor", Some(needed("factor")?));
        }
        "yarn" => {
            let factor = needed("factor")?;
            entries.string("rope.scaling.type", "yarn");
            entries.f32("rope.scaling.factor", Some(factor));
            entries.u32("rope.scaling.original_context_length", original.or(config.u32("max_position_embeddings")?));
            entries.f32("rope.scaling.yarn_beta_fast", rope.f64("beta_fast")?);
            entries.f32("rope.scaling.yarn_beta_slow", rope.f64("beta_slow")?);
            // GGUF's factor goes on top of what the scaling itself brings; this one stands in its place.
            let own = 1.0 + 0.1 * factor.max(1.0).ln();
            entries.f32("rope.scaling.attn_factor", rope.f64("attention_factor")?.map(|given| given / own));
            for key in ["mscale", "mscale_all_dim", "truncate"] {
                if let Some(found) = rope.get(key).filter(|found| **found != Json::Bool(true)) {
                    return Err(Config::wrong(key, found, "absent, for Kinglet does not know it"));
                }
            }
        }
        "longrope" | "su" => {
            let context = f64::from(config.needed_u32("max_position_embeddings")?);
            let original =
                original.ok_or_else(|| Config::wrong("original_max_position_embeddings", &Json::Null, "a whole number"))?;
            let scale = context / f64::from(original.max(1));
            let factor = if scale > 1.0 { (1.0 + scale.ln() / f64::from(original).ln()).sqrt() } else { 1.0 };
            entries.string("rope.scaling.type", "longrope");
            entries.u32("rope.scaling.original_context_length", Some(original));
            entries.f32("rope.scaling.attn_factor", Some(rope.f64("attention_factor")?.unwrap_or(factor)));
        }
        other => return Err(Config::wrong("rope_type", &other.into(), "default, linear, yarn, llama3, longrope or dynamic")),
    }
    Ok(())
}

fn activation(family: &Family, config: Config<'_>) -> Result<(), HfError> {
    // Gemma's first configuration says `gelu` and means its approximation; `hidden_activation` has the truth where it is there.
    let key = if config.get("hidden_activation").is_some() { "hidden_activation" } else { "hidden_act" };
    match config.string(key)? {
        Some(found) if !family.activations.contains(&found) => {
            Err(Config::wrong(key, &found.into(), family.activations.join(" or ")))
        }
        _ => Ok(()),
    }
}

/// What only some families have.
fn specific(entries: &mut Entries, family: &Family, config: Config<'_>) -> Result<(), HfError> {
    let no = Json::Bool(false);
    match family.model_type {
        "mistral" | "mixtral" | "phi3" => entries.u32("attention.sliding_window", config.u32("sliding_window")?),
        "qwen2" | "qwen3" | "qwen3_moe" => config.only("use_sliding_window", &no)?,
        "gemma2" | "gemma3_text" => {
            let window = if family.model_type == "gemma2" { Some(4096) } else { None };
            entries.u32("attention.sliding_window", config.u32("sliding_window")?.or(window));
            entries.f32("attn_logit_softcapping", config.f64("attn_logit_softcapping")?);
            entries.f32("final_logit_softcapping", config.f64("final_logit_softcapping")?);
            let scalar = config.f64("query_pre_attn_scalar")?;
            let usual = f64::from(config.head_dim()?);
            entries.f32("attention.scale", scalar.filter(|scalar| *scalar != usual).map(|scalar| 1.0 / scalar.sqrt()));
            let local = config.f64("rope_local_base_freq")?;
            let both = config.get("rope_parameters").and_then(|rope| rope.get("sliding_attention"));
            entries.f32("rope.freq_base_swa", both.map(Config::new).map_or(Ok(None), |rope| rope.f64("rope_theta"))?.or(local));
            window_pattern(entries, config, if family.model_type == "gemma2" { 2 } else { 6 })?;
        }
        "olmo2" | "olmoe" => config.only("clip_qkv", &Json::Null)?,
        "granite" => {
            entries.f32("attention.scale", config.f64("attention_multiplier")?);
            entries.f32("embedding_scale", config.f64("embedding_multiplier")?);
            entries.f32("residual_scale", config.f64("residual_multiplier")?);
            entries.f32("logit_scale", config.f64("logits_scaling")?);
        }
        "smollm3" => {
            let every_fourth = |layer: usize| u64::from(!(layer + 1).is_multiple_of(4));
            let layers = config.needed_u32("num_hidden_layers")? as usize;
            if let Some(found) = config.get("no_rope_layers")
                && *found != Json::from((0..layers).map(every_fourth).collect::<Vec<_>>())
            {
                return Err(Config::wrong("no_rope_layers", found, "0 for every fourth layer, for Kinglet runs only that"));
            }
            config.only("use_sliding_window", &no)?;
        }
        "stablelm" => {
            config.only("use_parallel_residual", &no)?;
            entries.push("use_parallel_residual", Some(Value::Bool(false)));
        }
        _ => {}
    }
    if family.experts.is_some() {
        entries.u32("expert_count", config.u32("num_local_experts")?.or(config.u32("num_experts")?));
        entries.u32("expert_used_count", Some(config.needed_u32("num_experts_per_tok")?));
        entries.u32("expert_feed_forward_length", config.u32("moe_intermediate_size")?);
        config.only("norm_topk_prob", &Json::Bool(family.model_type != "olmoe"))?;
        config.only("decoder_sparse_step", &1.into())?;
        config.only("mlp_only_layers", &Json::Array(Vec::new()))?;
    }
    Ok(())
}

/// Which layers see only a window, where that is not every layer but each `usual`th.
fn window_pattern(entries: &mut Entries, config: Config<'_>, usual: usize) -> Result<(), HfError> {
    let layers = config.needed_u32("num_hidden_layers")? as usize;
    let windowed = match (config.get("layer_types").and_then(Json::as_array), config.u32("sliding_window_pattern")?) {
        (Some(types), _) => types.iter().map(|kind| kind == "sliding_attention").collect::<Vec<_>>(),
        (None, Some(pattern)) => (1..=layers).map(|layer| !layer.is_multiple_of(pattern.max(1) as usize)).collect(),
        (None, None) => return Ok(()),
    };
    if windowed.len() != layers {
        return Err(Config::wrong("layer_types", &windowed.len().into(), format!("a list of {layers}")));
    }
    if windowed.iter().zip(1_usize..).any(|(windowed, layer)| *windowed == layer.is_multiple_of(usual)) {
        entries.push("attention.sliding_window_pattern", Some(Value::Array(Array::Bool(windowed))));
    }
    Ok(())
}
