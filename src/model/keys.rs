//! Reading an architecture's metadata, and noticing what nobody read.

use super::config::ConfigError;
use crate::weights::gguf::{Array, Metadata, Value};
use std::cell::RefCell;
use std::collections::HashSet;

/// Keys that change nothing, or nothing that is not said by the tensors or by other keys too.
const HARMLESS: [&str; 17] = [
    "vocab_size",
    "tensor_data_layout",
    "rope.scaling.finetuned",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_log_multiplier",
    "rope.dimension_count",
    "rope.freq_base",
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.max_alibi_bias",
    "attention.sliding_window_pattern",
    "expert_shared_count",
    "expert_shared_feed_forward_length",
    "leading_dense_block_count",
    "use_parallel_residual",
];

/// Metadata under one architecture's prefix.
pub(super) struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
    read: RefCell<HashSet<String>>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(metadata: &'a Metadata, architecture: &'a str) -> Self {
        Self { metadata, architecture, read: RefCell::default() }
    }

    pub(super) fn metadata(&self) -> &'a Metadata {
        self.metadata
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// A key that is about to be read.
    fn reading(&self, name: &str) -> String {
        let key = self.key(name);
        self.read.borrow_mut().insert(key.clone());
        key
    }

    pub(super) fn bad(&self, name: &str, value: impl ToString, problem: impl Into<String>) -> ConfigError {
        ConfigError::BadValue { key: self.key(name), value: value.to_string(), problem: problem.into() }
    }

    /// A whole number up to `most`. Some files have an array with a number a layer: all have to be the same.
    pub(super) fn number(&self, name: &str, most: u32) -> Result<Option<u32>, ConfigError> {
        let key = self.reading(name);
        let value = match self.metadata.get(&key) {
            Some(Value::Array(Array::U32(_) | Array::I32(_))) => {
                let values = match self.metadata.get(&key) {
                    Some(Value::Array(Array::I32(values))) => values.iter().map(|value| i64::from(*value)).collect(),
                    _ => self.metadata.u32s(&key)?.unwrap_or_default().into_iter().map(i64::from).collect::<Vec<_>>(),
                };
                let first = values.first().copied().unwrap_or(0);
                if values.iter().any(|value| *value != first) {
                    return Err(self.bad(name, format!("{values:?}"), "and Kinglet needs the same number for all layers"));
                }
                u64::try_from(first).unwrap_or(u64::MAX)
            }
            _ => match self.metadata.u64(&key)? {
                Some(value) => value,
                None => return Ok(None),
            },
        };
        match u32::try_from(value) {
            Ok(number) if number <= most => Ok(Some(number)),
            _ => Err(self.bad(name, value, format!("and should be at most {most}"))),
        }
    }

    /// A whole number in 1..=`most`.
    pub(super) fn size(&self, name: &str, most: u32) -> Result<Option<u32>, ConfigError> {
        match self.number(name, most)? {
            Some(0) => Err(self.bad(name, 0, format!("and should be between 1 and {most}"))),
            size => Ok(size),
        }
    }

    /// A whole number up to `most`, where 0 says that there is none.
    pub(super) fn size_or_none(&self, name: &str, most: u32) -> Result<Option<u32>, ConfigError> {
        Ok(self.number(name, most)?.filter(|number| *number > 0))
    }

    pub(super) fn needed_size(&self, name: &str, most: u32) -> Result<u32, ConfigError> {
        self.size(name, most)?.ok_or_else(|| ConfigError::MissingKey { key: self.key(name) })
    }

    pub(super) fn finite(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.metadata.f32(&self.reading(name))? else { return Ok(None) };
        if value.is_finite() { Ok(Some(f64::from(value))) } else { Err(self.bad(name, value, "and should be a finite number")) }
    }

    /// A finite number above 0.
    pub(super) fn positive(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        match self.finite(name)? {
            Some(value) if value <= 0.0 => Err(self.bad(name, value, "and should be a finite number above 0")),
            value => Ok(value),
        }
    }

    pub(super) fn bool(&self, name: &str) -> Result<Option<bool>, ConfigError> {
        Ok(self.metadata.bool(&self.reading(name))?)
    }

    /// An array of flags; `None` if there is something else.
    pub(super) fn bools(&self, name: &str) -> Result<Option<&'a [bool]>, ConfigError> {
        match self.metadata.get(&self.reading(name)) {
            Some(Value::Array(Array::Bool(flags))) => Ok(Some(flags)),
            _ => Ok(None),
        }
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<&'a str>, ConfigError> {
        Ok(self.metadata.string(&self.reading(name))?)
    }

    /// Refuses keys of this architecture that nobody has read, unless they are known to be harmless or say that something is absent.
    pub(super) fn refuse_unknown(&self) -> Result<(), ConfigError> {
        let read = self.read.borrow();
        for (key, value) in self.metadata.iter() {
            let Some(name) = key.strip_prefix(self.architecture).and_then(|rest| rest.strip_prefix('.')) else { continue };
            let absent = matches!(value, Value::U32(0) | Value::I32(0) | Value::U64(0) | Value::Bool(false))
                || matches!(value, Value::F32(zero) if *zero == 0.0);
            if !absent && !read.contains(key) && !HARMLESS.contains(&name) {
                return Err(ConfigError::UnknownKey {
                    key: key.into(),
                    value: shown(value),
                    architecture: self.architecture.into(),
                });
            }
        }
        Ok(())
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::U8(n) => n.to_string(),
        Value::I8(n) => n.to_string(),
        Value::U16(n) => n.to_string(),
        Value::I16(n) => n.to_string(),
        Value::U32(n) => n.to_string(),
        Value::I32(n) => n.to_string(),
        Value::U64(n) => n.to_string(),
        Value::I64(n) => n.to_string(),
        Value::F32(n) => n.to_string(),
        Value::F64(n) => n.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::String(text) => format!("\"{}\"", text.chars().take(80).collect::<String>()),
        Value::Array(array) => format!("an array of {}", array.len()),
    }
}
