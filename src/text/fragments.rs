//! Cutting a text into special tokens and the plain text between them.

use std::collections::HashMap;

use super::special::Matcher;
use super::vocab::Special;

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fragment<'a> {
    Text(&'a str),
    Token(u32),
}

/// The tokens that are searched for as texts before the rest is encoded.
#[derive(Debug, Default)]
pub(super) struct Specials {
    all: Matcher,
    /// Those that plain text may contain.
    user_defined: Matcher,
    /// Whitespace before and after these ids belongs to them.
    strips: HashMap<u32, (bool, bool)>,
}

impl Specials {
    pub fn new(specials: &[Special]) -> Self {
        let texts = |control: bool| {
            specials
                .iter()
                .filter(move |special| control || !special.kind.is_control())
                .map(|special| (special.text.clone(), special.id))
        };
        Self {
            all: Matcher::new(texts(true)),
            user_defined: Matcher::new(texts(false)),
            strips: specials
                .iter()
                .filter(|special| special.strip_left || special.strip_right)
                .map(|special| (special.id, (special.strip_left, special.strip_right)))
                .collect(),
        }
    }

    /// The id of the special token whose text is `text`.
    pub fn id(&self, text: &str) -> Option<u32> {
        self.all.id(text)
    }

    /// The parts of `text` in order; control tokens are looked for only if `parse_special`.
    pub fn partition<'a>(&'a self, text: &'a str, parse_special: bool) -> impl Iterator<Item = Fragment<'a>> {
        let matcher = if parse_special { &self.all } else { &self.user_defined };
        let mut at = 0;
        let mut token = None;
        std::iter::from_fn(move || {
            loop {
                if let Some(id) = token.take() {
                    return Some(Fragment::Token(id));
                }
                if at == text.len() {
                    return None;
                }
                let (plain, next) = match matcher.find(text, at) {
                    None => (&text[at..], text.len()),
                    Some(found) => {
                        let (left, right) = self.strips.get(&found.id).copied().unwrap_or_default();
                        token = Some(found.id);
                        let plain = &text[at..found.start];
                        let rest = &text[found.end..];
                        let rest = if right { rest.trim_start() } else { rest };
                        (if left { plain.trim_end() } else { plain }, text.len() - rest.len())
                    }
                };
                at = next;
                if !plain.is_empty() {
                    return Some(Fragment::Text(plain));
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocab::Kind;
    use super::*;

    fn special(id: u32, text: &str, kind: Kind, strip_right: bool) -> Special {
        Special { id, text: text.to_owned(), kind, strip_left: false, strip_right }
    }

    #[test]
    fn control_tokens_only_when_asked() {
        let specials = Specials::new(&[special(1, "<s>", Kind::Control, false), special(2, "<tool>", Kind::UserDefined, true)]);
        let parts = |text, parse| specials.partition(text, parse).collect::<Vec<_>>();
        use Fragment::{Text, Token};
        assert_eq!(parts("<s>a<tool> \n b", true), [Token(1), Text("a"), Token(2), Text("b")]);
        assert_eq!(parts("<s>a<tool> b<s>", false), [Text("<s>a"), Token(2), Text("b<s>")]);
        assert_eq!(parts("", true), []);
        assert_eq!(parts("<tool>", true), [Token(2)]);
    }
}
