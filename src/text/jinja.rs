//! Jinja as Python has it for chat templates: what `transformers` offers to them, on minijinja.

use std::fmt::Write as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use regex::Regex;
use serde_json::Value as Json;

use super::error::TemplateError;
use super::{guard, shape};

/// The template's name inside its environment.
pub(super) const NAME: &str = "chat_template";

/// Deep enough for every published template, and for the stack of a WebAssembly worker.
const RECURSION: usize = 160;

/// The source of errors that the template itself raised.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
struct Raised;

/// An environment that holds `source` as [`NAME`].
pub(super) fn environment(source: &str) -> Result<Environment<'static>, TemplateError> {
    shape::check(source)?;
    compile(source).map_err(|error| template_error(&error))
}

fn compile(source: &str) -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    env.set_syntax(syntax);
    env.set_recursion_limit(RECURSION);
    env.set_unknown_method_callback(method);
    env.add_function("raise_exception", |message: &Value| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.to_string()).with_source(Raised))
    });
    env.add_filter("tojson", tojson);
    // Python cannot iterate over None.
    env.add_test("iterable", |value: &Value| !value.is_none() && !value.is_undefined() && value.try_iter().is_ok());
    env.add_template_owned(NAME, without_generation_tags(source))?;
    Ok(env)
}

/// What a template's failure means.
pub(super) fn template_error(error: &minijinja::Error) -> TemplateError {
    let line = error.line().unwrap_or(0);
    let raised = std::error::Error::source(error).is_some_and(|source| source.is::<Raised>());
    let message = || match error.detail() {
        Some(detail) if raised => detail.to_owned(),
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    match error.kind() {
        ErrorKind::OutOfFuel => TemplateError::Endless { line },
        ErrorKind::SyntaxError => TemplateError::Syntax { line, message: message() },
        _ if raised => TemplateError::Refused { line, message: message() },
        _ => TemplateError::Failed { line, message: message() },
    }
}

/// `{% generation %}` marks the assistant's words for training. It prints nothing.
fn without_generation_tags(source: &str) -> String {
    let source = source.replace("\r\n", "\n");
    let Ok(tag) = Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}") else {
        return source;
    };
    tag.replace_all(&source, |tag: &regex::Captures<'_>| {
        let word = if tag.get(2).is_some() { "endif" } else { "if true" };
        format!("{{%{} {word} {}%}}", &tag[1], &tag[3])
    })
    .into_owned()
}

/// Python's methods that minijinja's own collection leaves out.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let text = value.as_str();
    let argument = args.first().and_then(Value::as_str);
    match (name, text, argument) {
        ("removeprefix", Some(text), Some(prefix)) => Ok(text.strip_prefix(prefix).unwrap_or(text).into()),
        ("removesuffix", Some(text), Some(suffix)) => Ok(text.strip_suffix(suffix).unwrap_or(text).into()),
        ("rsplit", Some(text), Some(separator)) if !separator.is_empty() => {
            let most = args.get(1).and_then(Value::as_i64).unwrap_or(-1);
            let most = usize::try_from(most).map_or(usize::MAX, |most| most.saturating_add(1));
            let mut parts: Vec<&str> = text.rsplitn(most, separator).collect();
            parts.reverse();
            Ok(parts.into_iter().map(Value::from).collect())
        }
        ("partition", Some(text), Some(separator)) if !separator.is_empty() => {
            let (before, middle, after) = match text.split_once(separator) {
                Some((before, after)) => (before, separator, after),
                None => (text, "", ""),
            };
            Ok([before, middle, after].into_iter().map(Value::from).collect())
        }
        ("index", None, _) if value.kind() == ValueKind::Seq => {
            let wanted = args.first().ok_or_else(|| Error::from(ErrorKind::MissingArgument))?;
            value
                .try_iter()?
                .position(|item| item == *wanted)
                .map(Value::from)
                .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "value is not in the list"))
        }
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// Python's `json.dumps` with the defaults that `transformers` gives it.
fn tojson(state: &mut State, value: &Value, ensure_ascii: Option<bool>, kwargs: Kwargs) -> Result<String, Error> {
    let ascii = kwargs.get::<Option<bool>>("ensure_ascii")?.or(ensure_ascii).unwrap_or(false);
    let indent = match kwargs.get::<Option<Value>>("indent")? {
        None => None,
        Some(indent) if indent.is_none() => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            // More than this prints nothing that a model was trained on.
            None => " ".repeat(usize::try_from(indent)?.min(16)),
        }),
    };
    let mut style = Style {
        ascii,
        item: if indent.is_some() { "," } else { ", " }.to_owned(),
        key: ": ".to_owned(),
        sort: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent,
    };
    if let Some(separators) = kwargs.get::<Option<Value>>("separators")?
        && !separators.is_none()
    {
        style.item = separators.get_item_by_index(0)?.to_string();
        style.key = separators.get_item_by_index(1)?.to_string();
    }
    kwargs.assert_all_used()?;
    let json = serde_json::to_value(value).map_err(|error| Error::new(ErrorKind::BadSerialization, "tojson").with_source(error))?;
    let mut text = String::new();
    style.write(&json, 0, &mut text);
    state.consume_fuel(text.len() as u64 / 64)?;
    Ok(text)
}

struct Style {
    ascii: bool,
    item: String,
    key: String,
    sort: bool,
    indent: Option<String>,
}

impl Style {
    fn write(&self, json: &Json, depth: usize, text: &mut String) {
        match json {
            Json::Null | Json::Bool(_) | Json::Number(_) => _ = write!(text, "{json}"),
            Json::String(string) => self.write_string(string, text),
            Json::Array(items) => {
                text.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.begin_item(index, depth + 1, text);
                    self.write(item, depth + 1, text);
                }
                self.end_items(items.len(), depth, text);
                text.push(']');
            }
            Json::Object(map) => {
                let mut entries: Vec<(&String, &Json)> = map.iter().collect();
                if self.sort {
                    entries.sort_by_key(|(key, _)| *key);
                }
                text.push('{');
                for (index, (key, value)) in entries.into_iter().enumerate() {
                    self.begin_item(index, depth + 1, text);
                    self.write_string(key, text);
                    *text += &self.key;
                    self.write(value, depth + 1, text);
                }
                self.end_items(map.len(), depth, text);
                text.push('}');
            }
        }
    }

    fn begin_item(&self, index: usize, depth: usize, text: &mut String) {
        if index > 0 {
            *text += &self.item;
        }
        self.new_line(depth, text);
    }

    fn end_items(&self, count: usize, depth: usize, text: &mut String) {
        if count > 0 {
            self.new_line(depth, text);
        }
    }

    fn new_line(&self, depth: usize, text: &mut String) {
        if let Some(indent) = &self.indent {
            text.push('\n');
            (0..depth).for_each(|_| *text += indent);
        }
    }

    fn write_string(&self, string: &str, text: &mut String) {
        text.push('"');
        for character in string.chars() {
            match character {
                '"' => *text += "\\\"",
                '\\' => *text += "\\\\",
                '\n' => *text += "\\n",
                '\r' => *text += "\\r",
                '\t' => *text += "\\t",
                '\u{8}' => *text += "\\b",
                '\u{c}' => *text += "\\f",
                '\0'..' ' => _ = write!(text, "\\u{:04x}", character as u32),
                '\u{7f}'.. if self.ascii && !guard::is_mark(character) => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        _ = write!(text, "\\u{unit:04x}");
                    }
                }
                _ => text.push(character),
            }
        }
        text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String, Error> {
        compile(source)?.get_template(NAME)?.render(minijinja::context! {
            tool => minijinja::value::Serde(serde_json::json!({"name": "é\"<\u{1f600}", "b": [1, 2.5, true, null], "a": {}})),
        })
    }

    #[test]
    fn json_as_python_writes_it() {
        let text = r#"{"name": "é\"<😀", "b": [1, 2.5, true, null], "a": {}}"#;
        assert_eq!(render("{{ tool|tojson }}").unwrap(), text);
        assert_eq!(render("{{ tool.name|tojson(ensure_ascii=True) }}").unwrap(), r#""\u00e9\"<\ud83d\ude00""#);
        assert_eq!(
            render("{{ tool|tojson(indent=2, sort_keys=true) }}").unwrap(),
            "{\n  \"a\": {},\n  \"b\": [\n    1,\n    2.5,\n    true,\n    null\n  ],\n  \"name\": \"é\\\"<😀\"\n}"
        );
        assert_eq!(render("{{ [1, 'a']|tojson(separators=(',', ':')) }}").unwrap(), "[1,\"a\"]");
    }

    #[test]
    fn python_methods_and_generation_tags() {
        assert_eq!(render("{{ 'a-b-c'.rsplit('-', 1)|join(' ') }}").unwrap(), "a-b c");
        assert_eq!(render("{{ 'abc'.removeprefix('a').removesuffix('c') }}").unwrap(), "b");
        assert_eq!(render("{{ 'a=b'.partition('=')[2] }}{{ [1, 2].index(2) }}").unwrap(), "b1");
        assert_eq!(render("a {%- generation -%} b {%- endgeneration %} c").unwrap(), "ab c");
        assert_eq!(render("{{ [true, none, 'x'] }}{{ 'abc'[::-1] }}").unwrap(), "[True, None, 'x']cba");
        assert_eq!(render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}").unwrap(), "01");
        assert_eq!(
            render("{% set ns = namespace(n=1) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}").unwrap(),
            "4"
        );
    }
}
