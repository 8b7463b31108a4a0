//! Byte-level BPE: `tokenizer.ggml.model` = `gpt2`. The merging itself is done by the `tokenizers` crate.

use std::collections::HashSet;

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::{Model, NormalizedString, Normalizer};

use super::error::TokenizerError;
use super::pretokenize::Splitter;
use super::pretokenizers::PreTokenizer;
use super::spm::byte_of;
use super::vocab::{Kind, Pieces};

pub(super) const MERGES: &str = "tokenizer.ggml.merges";

/// How many words' merges are remembered: enough for a long chat, a few hundred KiB.
const CACHED_WORDS: usize = 4096;

/// GPT-2's way to write any byte as a visible character: those that are visible in Latin-1 stand for themselves, the
/// others for the characters from U+0100 on, in order.
#[derive(Debug)]
pub(super) struct ByteAlphabet {
    characters: [char; 256],
}

impl ByteAlphabet {
    pub fn new() -> Self {
        let mut next = 0x100;
        let characters = std::array::from_fn(|byte| match byte {
            0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte as u8),
            _ => {
                next += 1;
                char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
        });
        Self { characters }
    }

    /// Appends `text`'s bytes, written as characters.
    fn write(&self, text: &str, written: &mut String) {
        written.extend(text.bytes().map(|byte| self.characters[byte as usize]));
    }

    /// The bytes that `written` stands for; a character outside the alphabet stands for itself.
    pub fn read(&self, written: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(written.len());
        for character in written.chars() {
            match self.byte(character) {
                Some(byte) => bytes.push(byte),
                None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        bytes
    }

    fn byte(&self, character: char) -> Option<u8> {
        let code = character as usize;
        match code {
            0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
            // U+0100 to U+0143 stand for the 68 others.
            0x100..=0x143 => self.characters.iter().position(|&other| other == character).map(|byte| byte as u8),
            _ => None,
        }
    }
}

/// Words are cut by the pre-tokenizer, written in the byte alphabet and merged.
#[derive(Debug)]
pub(super) struct Bpe {
    splitter: Splitter,
    alphabet: ByteAlphabet,
    model: BPE,
    /// The text is brought to Unicode's composed form first.
    compose: bool,
}

impl Bpe {
    /// `merges` in the file's order, each two tokens with a space between.
    pub fn new(tokens: &[String], kinds: &[Kind], merges: &[String], pre: &PreTokenizer) -> Result<Self, TokenizerError> {
        let splitter = Splitter::new(pre.stages).map_err(|error| TokenizerError::Encode { message: error.to_string() })?;
        Ok(Self {
            splitter,
            alphabet: ByteAlphabet::new(),
            model: model(tokens, kinds, merges, pre.ignore_merges)?,
            compose: pre.compose,
        })
    }

    pub fn from_parts(splitter: Splitter, model: BPE, compose: bool) -> Self {
        Self { splitter, alphabet: ByteAlphabet::new(), model, compose }
    }

    /// Appends the ids of `text`.
    pub fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let composed;
        let text = if self.compose && !text.is_ascii() {
            let mut normalized = NormalizedString::from(text);
            NFC.normalize(&mut normalized).map_err(encode_error)?;
            composed = normalized.get().to_owned();
            &composed
        } else {
            text
        };
        let mut written = String::new();
        self.splitter.split(text, &mut |word| {
            written.clear();
            self.alphabet.write(word, &mut written);
            let tokens = self.model.tokenize(&written).map_err(encode_error)?;
            ids.extend(tokens.iter().map(|token| token.id));
            Ok(())
        })
    }

    /// The bytes of every token; those that are searched for as texts stand for themselves.
    pub fn pieces(tokens: &[String], kinds: &[Kind]) -> Pieces {
        let alphabet = ByteAlphabet::new();
        let mut pieces = Pieces::default();
        for (token, kind) in tokens.iter().zip(kinds) {
            match kind {
                Kind::Control | Kind::Unknown | Kind::UserDefined => pieces.push(token.as_bytes()),
                Kind::Normal | Kind::Unused | Kind::Byte => match byte_of(token) {
                    Some(byte) if *kind == Kind::Byte => pieces.push(&[byte]),
                    _ => pieces.push(&alphabet.read(token)),
                },
            }
        }
        pieces
    }
}

/// Control tokens are not in the model: no text is merged to one.
fn model(tokens: &[String], kinds: &[Kind], merges: &[String], ignore_merges: bool) -> Result<BPE, TokenizerError> {
    let mut vocab = tokenizers::models::bpe::Vocab::with_capacity(tokens.len());
    for ((token, kind), id) in tokens.iter().zip(kinds).zip(0_u32..) {
        if !kind.is_control() && !token.is_empty() {
            vocab.entry(token.clone()).or_insert(id);
        }
    }
    let control: HashSet<&str> =
        tokens.iter().zip(kinds).filter(|(_, kind)| kind.is_control()).map(|(token, _)| token.as_str()).collect();
    let mut pairs = Vec::with_capacity(merges.len());
    for (index, merge) in merges.iter().enumerate() {
        let (left, right) = merge
            .char_indices()
            .skip(1)
            .find(|&(_, character)| character == ' ')
            .map(|(at, _)| (&merge[..at], &merge[at + 1..]))
            .filter(|(_, right)| !right.is_empty())
            .ok_or_else(|| TokenizerError::BadMerge { index, merge: merge.clone() })?;
        let merged = [left, right].concat();
        let missing = [left, right, &merged].into_iter().find(|token| !vocab.contains_key(*token));
        match missing {
            None => pairs.push((left.to_owned(), right.to_owned())),
            Some(token) if control.contains(token) => {}
            Some(token) => {
                return Err(TokenizerError::MergeWithoutToken { index, merge: merge.clone(), token: token.to_owned() });
            }
        }
    }
    BPE::builder()
        .vocab_and_merges(vocab, pairs)
        .ignore_merges(ignore_merges)
        .cache_capacity(CACHED_WORDS)
        .build()
        .map_err(encode_error)
}

fn encode_error(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Encode { message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_character() {
        let alphabet = ByteAlphabet::new();
        for byte in 0..=255 {
            assert_eq!(alphabet.byte(alphabet.characters[byte as usize]), Some(byte));
        }
        assert_eq!(alphabet.characters[b' ' as usize], 'Ġ');
        assert_eq!(alphabet.characters[b'\n' as usize], 'Ċ');
        assert_eq!(alphabet.read("Ġé"), [b' ', 0xe9]);
        assert_eq!(alphabet.read("你"), "你".as_bytes());
    }
}
