//! SentencePiece-style BPE: of all neighbours that together are a token, the pair with the highest score is merged first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::hash::{BuildHasher, RandomState};

use super::error::TokenizerError;
use super::vocab::{Kind, Pieces};

/// What SentencePiece writes for a space.
pub(super) const SPACE: char = '\u{2581}';

/// Ids by text, in an open-addressed table beside the texts: no text is stored twice.
#[derive(Debug)]
struct Index {
    slots: Vec<u32>,
    hasher: RandomState,
}

const EMPTY: u32 = u32::MAX;

impl Index {
    fn new(pieces: &Pieces, ids: impl Iterator<Item = u32>) -> Self {
        let size = (pieces.len() * 2).next_power_of_two();
        let mut index = Self { slots: vec![EMPTY; size], hasher: RandomState::new() };
        for id in ids {
            let piece = pieces.get(id).unwrap_or_default();
            let slot = index.slot(pieces, piece);
            // Of equal texts the first one counts.
            if index.slots[slot] == EMPTY {
                index.slots[slot] = id;
            }
        }
        index
    }

    fn get(&self, pieces: &Pieces, text: &[u8]) -> Option<u32> {
        Some(self.slots[self.slot(pieces, text)]).filter(|&id| id != EMPTY)
    }

    /// The slot that holds `text`, or the empty one where it would go.
    fn slot(&self, pieces: &Pieces, text: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(text) as usize & mask;
        while self.slots[slot] != EMPTY && pieces.get(self.slots[slot]) != Some(text) {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

/// The model behind `tokenizer.ggml.model` = `llama`.
#[derive(Debug)]
pub(super) struct Spm {
    /// Texts as in the file, with [`SPACE`].
    texts: Pieces,
    index: Index,
    scores: Vec<f32>,
    bytes: [Option<u32>; 256],
    /// Stands for a character that has neither a token nor bytes' tokens.
    unknown: Option<u32>,
    longest: usize,
}

#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: u32,
    /// 0 once it became a part of its left neighbour.
    len: u32,
    prev: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;

/// Two neighbours that could be merged.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pair {
    score: f32,
    left: u32,
    right: u32,
    len: u32,
}

impl Eq for Pair {}

impl Ord for Pair {
    /// The best pair has the highest score, and of equals is the leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.partial_cmp(&other.score).unwrap_or(Ordering::Equal).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Spm {
    /// `tokens`, `kinds` and `scores` are equally long. Control, unknown and byte tokens are never merged to: text
    /// that looks like them stays text.
    pub fn new(tokens: &[String], kinds: &[Kind], scores: Vec<f32>, unknown: Option<u32>) -> Result<Self, TokenizerError> {
        if let Some(id) = scores.iter().position(|score| score.is_nan()) {
            return Err(TokenizerError::BadScore { id });
        }
        let mut texts = Pieces::default();
        let mut longest = 0;
        let mut bytes = [None; 256];
        for (id, (token, kind)) in tokens.iter().zip(kinds).enumerate() {
            texts.push(token.as_bytes());
            longest = longest.max(token.len());
            if *kind == Kind::Byte
                && let Some(byte) = byte_of(token)
            {
                bytes[byte as usize].get_or_insert(id as u32);
            }
        }
        let mergeable = kinds
            .iter()
            .zip(0..)
            .filter_map(|(kind, id)| matches!(kind, Kind::Normal | Kind::UserDefined | Kind::Unused).then_some(id));
        let index = Index::new(&texts, mergeable);
        for (byte, id) in (0_u8..=255).zip(&mut bytes) {
            *id = id.or_else(|| index.get(&texts, &[byte]));
        }
        Ok(Self { texts, index, scores, bytes, unknown, longest })
    }

    /// Appends the ids of `text`, in which every space is already [`SPACE`].
    pub fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        if text.is_empty() {
            return Ok(());
        }
        if text.len() >= NONE as usize {
            return Err(TokenizerError::Encode { message: "it is over 4 GiB long".to_owned() });
        }
        let count = text.chars().count() as u32;
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .zip(0_u32..)
            .map(|((start, character), index)| Symbol {
                start: start as u32,
                len: character.len_utf8() as u32,
                prev: index.checked_sub(1).unwrap_or(NONE),
                next: if index + 1 == count { NONE } else { index + 1 },
            })
            .collect();
        let text = text.as_bytes();
        let mut queue = BinaryHeap::with_capacity(symbols.len());
        for left in 1..count {
            self.consider(text, &symbols, left - 1, left, &mut queue);
        }
        while let Some(pair) = queue.pop() {
            let (left, right) = (symbols[pair.left as usize], symbols[pair.right as usize]);
            if left.len == 0 || right.len == 0 || left.len + right.len != pair.len {
                continue;
            }
            symbols[pair.left as usize].len = pair.len;
            symbols[pair.left as usize].next = right.next;
            symbols[pair.right as usize].len = 0;
            if right.next != NONE {
                symbols[right.next as usize].prev = pair.left;
                self.consider(text, &symbols, pair.left, right.next, &mut queue);
            }
            if left.prev != NONE {
                self.consider(text, &symbols, left.prev, pair.left, &mut queue);
            }
        }
        let mut at = 0;
        while at != NONE {
            let symbol = symbols[at as usize];
            let piece = &text[symbol.start as usize..][..symbol.len as usize];
            match self.index.get(&self.texts, piece) {
                Some(id) => ids.push(id),
                None => self.fall_back(piece, ids)?,
            }
            at = symbol.next;
        }
        Ok(())
    }

    fn fall_back(&self, piece: &[u8], ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let before = ids.len();
        ids.extend(piece.iter().map_while(|&byte| self.bytes[byte as usize]));
        let found = ids.len() - before;
        if let Some(&byte) = piece.get(found) {
            ids.truncate(before);
            ids.push(self.unknown.ok_or(TokenizerError::NoByteToken { byte })?);
        }
        Ok(())
    }

    fn consider(&self, text: &[u8], symbols: &[Symbol], left: u32, right: u32, queue: &mut BinaryHeap<Pair>) {
        let (start, len) = (symbols[left as usize].start, symbols[left as usize].len + symbols[right as usize].len);
        if len as usize > self.longest {
            return;
        }
        let piece = &text[start as usize..][..len as usize];
        if let Some(id) = self.index.get(&self.texts, piece) {
            queue.push(Pair { score: self.scores[id as usize], left, right, len });
        }
    }
}

/// The bytes of every token; those that are searched for as texts stand for themselves.
pub(super) fn pieces(tokens: &[String], kinds: &[Kind]) -> Pieces {
    let mut pieces = Pieces::default();
    for (token, kind) in tokens.iter().zip(kinds) {
        match kind {
            Kind::Byte => match byte_of(token) {
                Some(byte) => pieces.push(&[byte]),
                None => pieces.push(token.as_bytes()),
            },
            Kind::Control | Kind::Unknown | Kind::UserDefined => pieces.push(token.as_bytes()),
            Kind::Normal | Kind::Unused => pieces.push(token.replace(SPACE, " ").as_bytes()),
        }
    }
    pieces
}

/// The byte of a token such as `<0x0A>`.
pub(super) fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(())?;
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(tokens: &[(&str, f32)]) -> Spm {
        let texts: Vec<String> = tokens.iter().map(|(text, _)| (*text).to_owned()).collect();
        let scores = tokens.iter().map(|(_, score)| *score).collect();
        let kinds = vec![Kind::Normal; texts.len()];
        Spm::new(&texts, &kinds, scores, Some(0)).unwrap()
    }

    fn ids(model: &Spm, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        model.encode(text, &mut ids).unwrap();
        ids
    }

    #[test]
    fn highest_score_first_then_leftmost() {
        let model = model(&[("?", 0.), ("a", -9.), ("b", -9.), ("ab", -2.), ("ba", -1.), ("aa", -3.)]);
        assert_eq!(ids(&model, "aba"), [1, 4]);
        assert_eq!(ids(&model, "aaa"), [5, 1]);
        assert_eq!(ids(&model, "axb"), [1, 0, 2]);
        assert_eq!(ids(&model, ""), [] as [u32; 0]);
    }

    #[test]
    fn bytes_where_there_is_no_token() {
        assert_eq!(byte_of("<0xfF>"), Some(255));
        assert_eq!(byte_of("<0x+1>"), None);
        assert_eq!(byte_of("<0x1>"), None);
        let texts = ["<0xC3>", "<0xA9>", "e"].map(str::to_owned);
        let kinds = [Kind::Byte, Kind::Byte, Kind::Normal];
        let model = Spm::new(&texts, &kinds, vec![0.; 3], None).unwrap();
        assert_eq!(ids(&model, "eé"), [2, 0, 1]);
        assert_eq!(model.encode("x", &mut Vec::new()), Err(TokenizerError::NoByteToken { byte: b'x' }));
    }

    #[test]
    fn a_long_run_of_one_character_is_quick() {
        let tokens: Vec<(String, f32)> = (0..12).map(|n| ("a".repeat(1 << n), -(n as f32))).collect();
        let tokens: Vec<(&str, f32)> = tokens.iter().map(|(t, s)| (t.as_str(), *s)).collect();
        let run = "a".repeat(1_000_000);
        assert!(ids(&model(&tokens), &run).len() < 600_000);
    }
}
