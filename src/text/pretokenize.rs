//! Cutting a text into the words that byte pairs are merged within.
//!
//! The published patterns end in `\s+(?!\S)|\s+`. That look-ahead needs a backtracking engine, whose time and memory are
//! not bounded on long texts. Here the rest of each pattern runs on the linear-time `regex` crate, and whitespace that it
//! leaves over is cut by [`cut_spaces`], which gives the same words.

use std::ops::Range;

use regex::Regex;

/// What is done with each word.
type Word<'a, E> = &'a mut dyn FnMut(&str) -> Result<(), E>;

/// One step: what the pattern matches becomes words, and so does what lies between the matches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    pattern: &'static str,
    /// The published pattern goes on with `|\s+(?!\S)|\s+`.
    spaces: bool,
}

impl Stage {
    pub const fn plain(pattern: &'static str) -> Self {
        Self { pattern, spaces: false }
    }

    pub const fn spaces(pattern: &'static str) -> Self {
        Self { pattern, spaces: true }
    }
}

/// A pattern of the published form with a look-ahead at its end, or none.
const SPACE_TAILS: [&str; 2] = [r"|\s+(?!\S)|\s+", r"|\s+(?!\S)"];

#[derive(Debug, Clone)]
struct Cutter {
    regex: Regex,
    spaces: bool,
}

/// Cuts texts by a list of patterns, each applied to the words that the one before made.
#[derive(Debug, Clone)]
pub(super) struct Splitter {
    cutters: Vec<Cutter>,
}

impl Splitter {
    /// # Errors
    /// The pattern that is not a valid regular expression.
    pub fn new(stages: &[Stage]) -> Result<Self, regex::Error> {
        let cutters = stages.iter().map(|stage| Cutter::new(stage.pattern, stage.spaces)).collect::<Result<_, _>>()?;
        Ok(Self { cutters })
    }

    /// From whole published patterns; `None` if one has a look-around elsewhere than at its end, or is not valid.
    pub fn from_published(patterns: &[&str]) -> Option<Self> {
        let cutters = patterns
            .iter()
            .map(|pattern| {
                let tail = SPACE_TAILS.iter().find_map(|tail| pattern.strip_suffix(tail));
                Cutter::new(tail.unwrap_or(pattern), tail.is_some()).ok()
            })
            .collect::<Option<_>>()?;
        Some(Self { cutters })
    }

    /// Calls `word` for every word of `text` in order. Together they are the text.
    pub fn split<E>(&self, text: &str, word: Word<'_, E>) -> Result<(), E> {
        split_by(&self.cutters, text, word)
    }
}

impl Cutter {
    fn new(pattern: &str, spaces: bool) -> Result<Self, regex::Error> {
        Ok(Self { regex: Regex::new(pattern)?, spaces })
    }

    fn cut<E>(&self, text: &str, word: Word<'_, E>) -> Result<(), E> {
        let mut done = 0;
        for found in self.regex.find_iter(text).filter(|found| !found.is_empty()) {
            self.between(text, done..found.start(), word)?;
            word(found.as_str())?;
            done = found.end();
        }
        self.between(text, done..text.len(), word)
    }

    fn between<E>(&self, text: &str, range: Range<usize>, word: Word<'_, E>) -> Result<(), E> {
        if range.is_empty() {
            Ok(())
        } else if self.spaces {
            cut_spaces(text, range, word)
        } else {
            word(&text[range])
        }
    }
}

fn split_by<E>(cutters: &[Cutter], text: &str, word: Word<'_, E>) -> Result<(), E> {
    match cutters {
        [] => word(text),
        [last] => last.cut(text, word),
        [first, rest @ ..] => first.cut(text, &mut |piece: &str| split_by(rest, piece, word)),
    }
}

/// `\s+(?!\S)|\s+` on `text[range]`: a run of whitespace before a word leaves its last character alone.
fn cut_spaces<E>(text: &str, range: Range<usize>, word: Word<'_, E>) -> Result<(), E> {
    let mut at = range.start;
    while at < range.end {
        let rest = &text[at..range.end];
        let is_space = rest.starts_with(char::is_whitespace);
        let end = rest.find(|c: char| c.is_whitespace() != is_space).map_or(range.end, |length| at + length);
        let run = &text[at..end];
        let before_word = text[end..].starts_with(|c: char| !c.is_whitespace());
        match run.char_indices().next_back() {
            Some((last, _)) if is_space && before_word && last > 0 => {
                word(&run[..last])?;
                word(&run[last..])?;
            }
            _ => word(run)?,
        }
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::pretokenizers;
    use super::*;

    fn words(splitter: &Splitter, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        splitter
            .split::<()>(text, &mut |word| {
                words.push(word.to_owned());
                Ok(())
            })
            .unwrap();
        words
    }

    fn of(name: &str) -> Splitter {
        Splitter::new(pretokenizers::find(name).unwrap().stages).unwrap()
    }

    #[test]
    fn every_pattern_compiles() {
        for name in pretokenizers::known_pre_tokenizers() {
            of(name);
        }
    }

    #[test]
    fn whitespace_as_the_published_patterns_cut_it() {
        let gpt2 = of("gpt-2");
        assert_eq!(words(&gpt2, "a  b"), ["a", " ", " b"]);
        assert_eq!(words(&gpt2, "a\t\tb"), ["a", "\t", "\t", "b"]);
        assert_eq!(words(&gpt2, "a \n "), ["a", " \n "]);
        let llama3 = of("llama-bpe");
        assert_eq!(words(&llama3, "a \n  b1234"), ["a", " \n", " ", " b", "123", "4"]);
        assert_eq!(words(&llama3, "I'LL"), ["I", "'LL"]);
        assert!(words(&llama3, "").is_empty());
    }

    #[test]
    fn words_together_are_the_text() {
        let text = "Hello,  wörld!\r\n\r\n\t 12345 foo_bar() 你好,世界 👩‍👩‍👧 \u{300}e\u{301} \u{a0}\u{3000}x\u{85}  ";
        for name in pretokenizers::known_pre_tokenizers() {
            assert_eq!(words(&of(name), text).concat(), text, "{name}");
        }
    }

    #[test]
    fn published_patterns_of_the_known_form_are_taken() {
        let qwen =
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let splitter = Splitter::from_published(&[qwen]).unwrap();
        assert_eq!(words(&splitter, "a  b 12"), ["a", " ", " b", " ", "1", "2"]);
        assert!(Splitter::from_published(&["(?=a)b"]).is_none());
    }

    #[test]
    fn long_runs_take_linear_time() {
        for run in [" ", "\n", "a", "1", ".", "\t ", " a", "\n ", "你"] {
            let text = run.repeat(200_000);
            for name in ["smollm", "llama-bpe", "qwen2", "gpt-4o", "deepseek-v3", "default"] {
                assert_eq!(words(&of(name), &text).concat().len(), text.len());
            }
        }
    }
}
