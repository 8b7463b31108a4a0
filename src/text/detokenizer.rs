//! Ids to text while they arrive.

use super::tokenizer::{DecodeOptions, Tokenizer};

/// Turns ids into text one at a time. What it gives out is always whole UTF-8, and it keeps back only the up to three
/// bytes of a character that has begun and can still be completed.
#[derive(Debug)]
pub struct Detokenizer<'a> {
    tokenizer: &'a Tokenizer,
    options: DecodeOptions,
    pending: Vec<u8>,
    /// The next piece of text loses the space that encoding put in front.
    strip_space: bool,
}

impl<'a> Detokenizer<'a> {
    /// For ids that begin a text of their own, such as an answer. Control tokens are left out.
    #[must_use]
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self::with_options(tokenizer, DecodeOptions::default())
    }

    /// For ids that go on from a text: a leading space of the first one is kept.
    #[must_use]
    pub fn continuing(tokenizer: &'a Tokenizer) -> Self {
        Self { strip_space: false, ..Self::new(tokenizer) }
    }

    /// As [`Self::new`], with a choice about control tokens.
    #[must_use]
    pub fn with_options(tokenizer: &'a Tokenizer, options: DecodeOptions) -> Self {
        Self { tokenizer, options, pending: Vec::new(), strip_space: tokenizer.spaces.add_prefix }
    }

    /// The text that became certain with this id; may be empty. An id that does not exist gives nothing.
    #[must_use = "the text is given out only once"]
    pub fn push(&mut self, id: u32) -> String {
        let Some(mut piece) = self.tokenizer.token_bytes(id) else {
            return String::new();
        };
        if self.tokenizer.is_control(id) {
            if !self.options.special {
                return String::new();
            }
        } else if std::mem::take(&mut self.strip_space) {
            piece = piece.strip_prefix(b" ").unwrap_or(piece);
        }
        self.pending.extend_from_slice(piece);
        take_whole(&mut self.pending)
    }

    /// What was kept back: U+FFFD if the ids ended inside a character, otherwise nothing.
    #[must_use = "the text is given out only once"]
    pub fn finish(&mut self) -> String {
        let rest = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        rest
    }
}

/// Takes everything but an incomplete character at the end; what can never become a character turns to U+FFFD.
fn take_whole(pending: &mut Vec<u8>) -> String {
    let mut whole = String::with_capacity(pending.len());
    let mut kept = 0;
    for chunk in pending.utf8_chunks() {
        whole += chunk.valid();
        kept = chunk.invalid().len();
        if kept > 0 {
            whole.push(char::REPLACEMENT_CHARACTER);
        }
    }
    let incomplete = std::str::from_utf8(&pending[pending.len() - kept..]).is_err_and(|error| error.error_len().is_none());
    if incomplete {
        whole.pop();
        pending.drain(..pending.len() - kept);
    } else {
        pending.clear();
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(bytes: &[u8], sizes: impl Iterator<Item = usize>) -> (String, usize) {
        let (mut pending, mut text, mut at, mut most_kept) = (Vec::new(), String::new(), 0, 0);
        for size in sizes {
            let end = (at + size).min(bytes.len());
            pending.extend_from_slice(&bytes[at..end]);
            at = end;
            text += &take_whole(&mut pending);
            most_kept = most_kept.max(pending.len());
        }
        text += &String::from_utf8_lossy(&pending);
        (text, most_kept)
    }

    #[test]
    fn any_cut_gives_the_same_text_as_the_whole() {
        let cases: &[&[u8]] = &[
            "aé你👩‍👩‍👧z".as_bytes(),
            b"\xf0\x9f\x91a\xff\xe4\xbd\xc3\xa9\xe4",
            b"\xc3\x28\xa0\xa1\xe2\x28\xa1\xf0\x90\x28\xbc\xed\xa0\x80",
            b"",
        ];
        for bytes in cases {
            for size in 1..5 {
                let (text, most_kept) = chunks(bytes, std::iter::repeat_n(size, bytes.len() + 1));
                assert_eq!(text, String::from_utf8_lossy(bytes));
                assert!(most_kept <= 3);
            }
        }
    }

    #[test]
    fn a_whole_character_is_given_out_at_once() {
        let mut pending = "é".as_bytes().to_vec();
        assert_eq!(take_whole(&mut pending), "é");
        assert!(pending.is_empty());
        pending.push(0xff);
        assert_eq!(take_whole(&mut pending), "\u{fffd}");
    }
}
