//! Limits on a template's shape.
//!
//! minijinja's compiler recurses over chains of operators and of `elif` without a limit of its own: a few kilobytes of
//! them overflow the stack. Published templates stay far below these limits.

use super::error::TemplateError;

/// Words, signs and strings in one tag; published templates have about a hundred.
const TAG_PARTS: usize = 1000;
/// `elif` tags in a template; published templates have up to 20.
const ELIFS: usize = 256;

/// Whether the template can be compiled on a small stack.
pub(super) fn check(source: &str) -> Result<(), TemplateError> {
    let mut scan = Scan { characters: source.chars(), line: 1 };
    let mut elifs = 0;
    while let Some(character) = scan.next() {
        if character != '{' {
            continue;
        }
        let begun = scan.line;
        match scan.peek() {
            Some('#') => scan.comment(),
            Some('{' | '%') => {
                scan.next();
                let (parts, elif) = scan.tag();
                elifs += usize::from(elif);
                let too_much = if parts > TAG_PARTS {
                    format!("a tag of more than {TAG_PARTS} words and signs")
                } else if elifs > ELIFS {
                    format!("more than {ELIFS} `elif` tags")
                } else {
                    continue;
                };
                return Err(TemplateError::Syntax {
                    line: begun,
                    message: format!("{too_much} is more than any honest template has"),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

struct Scan<'a> {
    characters: std::str::Chars<'a>,
    line: usize,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<char> {
        let character = self.characters.next();
        self.line += usize::from(character == Some('\n'));
        character
    }

    fn peek(&self) -> Option<char> {
        self.characters.clone().next()
    }

    fn comment(&mut self) {
        self.next();
        while let Some(character) = self.next() {
            if character == '#' && self.peek() == Some('}') {
                break;
            }
        }
    }

    /// Reads a tag to its end: how many words, signs and strings it has, and whether it begins with `elif`.
    fn tag(&mut self) -> (usize, bool) {
        let (mut parts, mut braces) = (0, 0_usize);
        let (mut in_word, mut first) = (false, String::new());
        while let Some(character) = self.next() {
            match character {
                '}' | '%' if braces == 0 && self.peek() == Some('}') => break,
                '{' => braces += 1,
                '}' => braces = braces.saturating_sub(1),
                '\'' | '"' => self.string(character),
                _ => {}
            }
            let is_word = character.is_alphanumeric() || character == '_';
            if is_word && (parts == 0 || parts == 1 && in_word) {
                first.push(character);
            }
            // A tag may begin with a sign that trims: `{%-`.
            let trims = parts == 0 && matches!(character, '-' | '+');
            if !(character.is_whitespace() || trims || is_word && in_word) {
                parts += 1;
            }
            in_word = is_word;
            if parts > TAG_PARTS {
                break;
            }
        }
        (parts, first == "elif")
    }

    fn string(&mut self, quote: char) {
        while let Some(character) = self.next() {
            if character == '\\' {
                self.next();
            } else if character == quote {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_have_a_limit() {
        let chain = |length| format!("\n{{{{ {{'a}}}}': {{}}}} {} }}}}", "|upper".repeat(length));
        assert_eq!(check(&chain(400)), Ok(()));
        assert!(matches!(check(&chain(600)), Err(TemplateError::Syntax { line: 2, .. })));
        assert_eq!(check(&"{% if 1 %}{%- elif 2 -%}{% endif %}".repeat(ELIFS)), Ok(()));
        assert!(check(&"{%- elif 2 %}".repeat(ELIFS + 1)).is_err());
    }

    #[test]
    fn anything_can_be_scanned() {
        let long = "a b ".repeat(2000);
        let sources = [
            "{{ 'a }} {{' }}".repeat(2000),
            format!("{{{{ '{long}"),
            format!("{{# don't {{{{ {long} #}} {{{{ x }}}}"),
            long.clone(),
            "{".repeat(900),
            "{{ \"\\".to_owned(),
            "{%}".to_owned(),
            "{{ é".to_owned(),
            "{#".to_owned(),
        ];
        for source in sources {
            assert_eq!(check(&source), Ok(()), "{source:.40}");
        }
    }
}
