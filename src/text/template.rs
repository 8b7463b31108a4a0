//! Chat templates: messages to the text that the model was trained on.

use std::collections::BTreeMap;

use minijinja::Environment;
use minijinja::value::{Serde, Value};
use serde_json::Value as Json;

use super::chat::{Message, RenderOptions};
use super::error::TemplateError;
use super::guard::{Guard, Rendered};
use super::jinja::{self, NAME};
use super::special::Matcher;
use super::tokenizer::Tokenizer;
use super::vocab::{self, RoleDefaults};
use crate::weights::gguf::Metadata;

const KEY: &str = "tokenizer.chat_template";

/// For files without a template whose vocabulary has `<|im_start|>`.
const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// For all other files without a template: base models that have seen dialogues only as text.
const PLAIN: &str = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

/// Steps that every template may do, and steps more for each byte of the messages. A step makes at most 64 bytes of
/// text. Published templates need thousands.
const FUEL: u64 = 1_000_000;
const FUEL_PER_BYTE: u64 = 1;

/// Where a template comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateOrigin {
    /// From the model's file (`tokenizer.chat_template`).
    File,
    /// The file has none, but its vocabulary has `<|im_start|>`: ChatML.
    ChatMl,
    /// The file has none: lines of `role: content`.
    Plain,
}

/// A model's chat templates, compiled.
#[derive(Debug)]
pub struct ChatTemplate {
    default: Compiled,
    named: BTreeMap<String, Compiled>,
    origin: TemplateOrigin,
    guard: Guard,
    bos: Option<String>,
    eos: Option<String>,
}

#[derive(Debug, Clone)]
struct Compiled {
    source: String,
    env: Environment<'static>,
}

impl Compiled {
    fn new(source: &str) -> Result<Self, TemplateError> {
        Ok(Self { env: jinja::environment(source)?, source: source.to_owned() })
    }
}

impl ChatTemplate {
    /// From a GGUF file: `tokenizer.chat_template`, and `tokenizer.chat_template.NAME` for templates with names.
    /// A file that has none gets ChatML if its vocabulary has `<|im_start|>`, otherwise lines of `role: content`;
    /// [`Self::origin`] tells which.
    ///
    /// # Errors
    /// A template that does not compile, with its line; a vocabulary that cannot be read.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TemplateError> {
        let tokens = vocab::tokens(metadata)?;
        let kinds = vocab::kinds(metadata, tokens)?;
        let defaults = match metadata.string("tokenizer.ggml.model") {
            Ok(Some("llama")) => RoleDefaults { bos: Some(1), eos: Some(2), ..RoleDefaults::default() },
            _ => RoleDefaults::default(),
        };
        let roles = vocab::roles(metadata, tokens, defaults)?;
        let controls =
            tokens.iter().zip(&kinds).zip(0..).filter(|((_, kind), _)| kind.is_control()).map(|((text, _), id)| (text.clone(), id));
        let text = |id: Option<u32>| id.map(|id| tokens[id as usize].clone());

        let source = metadata.string(KEY).map_err(vocab_error)?;
        let mut template = Self::new(source, Matcher::new(controls))?;
        template.bos = text(roles.bos);
        template.eos = text(roles.eos);
        template.add_named(metadata)?;
        Ok(template)
    }

    /// As [`Self::from_gguf`], for metadata that may carry its vocabulary in another form; `tokenizer` was made of it.
    ///
    /// # Errors
    /// As for [`Self::from_gguf`].
    pub fn for_model(metadata: &Metadata, tokenizer: &Tokenizer) -> Result<Self, TemplateError> {
        if metadata.get(vocab::TOKENS).is_some() {
            return Self::from_gguf(metadata);
        }
        let mut template = Self::from_source(metadata.string(KEY).map_err(vocab_error)?, tokenizer)?;
        template.add_named(metadata)?;
        Ok(template)
    }

    /// The templates with names, such as `tokenizer.chat_template.tool_use`.
    fn add_named(&mut self, metadata: &Metadata) -> Result<(), TemplateError> {
        for (key, _) in metadata.iter() {
            let name = key.strip_prefix(KEY).and_then(|rest| rest.strip_prefix('.'));
            if let Some(name) = name
                && let Some(source) = metadata.string(key).map_err(vocab_error)?
            {
                self.named.insert(name.to_owned(), Compiled::new(source)?);
            }
        }
        Ok(())
    }

    /// From a template's source, such as `chat_template` in tokenizer_config.json; `None` for the default, chosen as by
    /// [`Self::from_gguf`].
    ///
    /// # Errors
    /// A template that does not compile, with its line.
    pub fn from_source(source: Option<&str>, tokenizer: &Tokenizer) -> Result<Self, TemplateError> {
        let text = |id: u32| tokenizer.piece(id);
        let controls = (0..tokenizer.vocab_size() as u32).filter(|&id| tokenizer.is_control(id)).map(|id| (text(id), id));
        let mut template = Self::new(source, Matcher::new(controls))?;
        template.bos = tokenizer.bos().map(text);
        template.eos = tokenizer.eos().map(text);
        Ok(template)
    }

    fn new(source: Option<&str>, controls: Matcher) -> Result<Self, TemplateError> {
        let (source, origin) = match source {
            Some(source) => (source, TemplateOrigin::File),
            None if controls.id("<|im_start|>").is_some() => (CHATML, TemplateOrigin::ChatMl),
            None => (PLAIN, TemplateOrigin::Plain),
        };
        Ok(Self {
            default: Compiled::new(source)?,
            named: BTreeMap::new(),
            origin,
            guard: Guard::new(controls),
            bos: None,
            eos: None,
        })
    }

    /// Where the default template comes from.
    #[must_use]
    pub fn origin(&self) -> TemplateOrigin {
        self.origin
    }

    /// The default template's source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.default.source
    }

    /// The names of the other templates, such as `tool_use`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// The chat as text for the model. Special tokens come only from the template: in messages, tools, documents and
    /// variables their texts stay text.
    ///
    /// # Errors
    /// The template refuses the messages, fails, does not end, or there is none of the name; each with its line.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<Rendered, TemplateError> {
        let compiled = match &options.template {
            None => &self.default,
            Some(name) => self
                .named
                .get(name)
                .ok_or_else(|| TemplateError::UnknownName { name: name.clone(), known: self.named.keys().cloned().collect() })?,
        };
        let messages: Vec<Json> = messages.iter().map(|message| self.message(message)).collect();
        let list = |values: &[Json]| match values {
            [] => Value::from(()),
            _ => values.iter().map(|value| Value::from(Serde(self.guard.apply_json(value)))).collect(),
        };
        let mut context: BTreeMap<String, Value> = options
            .variables
            .iter()
            .map(|(name, value)| {
                let value = Value::from(Serde(self.guard.apply_json(value)));
                (name.clone(), value)
            })
            .collect();
        let mut set = |name: &str, value: Value| _ = context.insert(name.to_owned(), value);
        set("messages", Value::from(Serde(&messages)));
        set("tools", list(&options.tools));
        set("documents", list(&options.documents));
        set("add_generation_prompt", options.add_generation_prompt.into());
        if let Some(bos) = &self.bos {
            set("bos_token", bos.into());
        }
        if let Some(eos) = &self.eos {
            set("eos_token", eos.into());
        }
        if let Some(now) = options.now {
            let function = Value::from_function(move |format: &str| now.format(format));
            set("strftime_now", function);
        }

        let bytes: usize = messages.iter().map(json_bytes).sum::<usize>()
            + options.tools.iter().map(json_bytes).sum::<usize>()
            + options.documents.iter().map(json_bytes).sum::<usize>();
        let mut env = compiled.env.clone();
        env.set_fuel(Some(FUEL + FUEL_PER_BYTE * bytes as u64));
        let text =
            env.get_template(NAME).and_then(|template| template.render(&context)).map_err(|error| jinja::template_error(&error))?;
        Ok(Rendered::new(text))
    }

    /// A message as the template sees it: guarded, and with tool arguments as objects.
    fn message(&self, message: &Message) -> Json {
        let mut message = message.clone();
        for call in &mut message.tool_calls {
            let arguments = &mut call.function.arguments;
            if let Json::String(text) = arguments
                && let Ok(object @ Json::Object(_)) = serde_json::from_str(text)
            {
                *arguments = object;
            }
        }
        let json = serde_json::to_value(&message).unwrap_or_default();
        self.guard.apply_json(&json)
    }
}

fn vocab_error(error: crate::weights::gguf::GgufError) -> TemplateError {
    TemplateError::Metadata(error.into())
}

/// Length of all strings in a value.
fn json_bytes(value: &Json) -> usize {
    match value {
        Json::String(text) => text.len(),
        Json::Array(values) => values.iter().map(json_bytes).sum(),
        Json::Object(map) => map.iter().map(|(key, value)| key.len() + json_bytes(value)).sum(),
        Json::Null | Json::Bool(_) | Json::Number(_) => 8,
    }
}
