//! Finding special tokens' texts in a text.

/// Texts to look for, each with its id. Finds the leftmost, and there the longest, in
/// O(text × longest × log(texts)) whatever the texts are.
#[derive(Debug, Default, Clone)]
pub(super) struct Matcher {
    /// Sorted by text.
    entries: Vec<(Box<str>, u32)>,
    first_bytes: Vec<u8>,
}

/// One text that was found: `text[start..end]` is the token `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub start: usize,
    pub end: usize,
    pub id: u32,
}

impl Matcher {
    /// Empty texts are left out; of equal texts the lowest id stays.
    pub fn new(texts: impl IntoIterator<Item = (String, u32)>) -> Self {
        let mut entries: Vec<(Box<str>, u32)> =
            texts.into_iter().filter(|(text, _)| !text.is_empty()).map(|(text, id)| (text.into_boxed_str(), id)).collect();
        entries.sort_unstable();
        entries.dedup_by(|later, earlier| later.0 == earlier.0);
        let mut first_bytes: Vec<u8> = entries.iter().map(|(text, _)| text.as_bytes()[0]).collect();
        first_bytes.dedup();
        Self { entries, first_bytes }
    }

    /// The id of a text that is exactly `text`.
    pub fn id(&self, text: &str) -> Option<u32> {
        let at = self.entries.binary_search_by(|(entry, _)| (**entry).cmp(text));
        at.ok().map(|at| self.entries[at].1)
    }

    /// The first text at or after `from`, which is a character boundary.
    pub fn find(&self, text: &str, from: usize) -> Option<Found> {
        let bytes = text.as_bytes();
        (from..bytes.len()).filter(|&at| self.first_bytes.contains(&bytes[at])).find_map(|start| self.longest_at(bytes, start))
    }

    /// Whether `tail` is the beginning, but not the whole, of one of the texts.
    pub fn is_beginning(&self, tail: &str) -> bool {
        let at = self.entries.partition_point(|(entry, _)| **entry <= *tail);
        self.entries.get(at).is_some_and(|(entry, _)| entry.starts_with(tail))
    }

    /// Length in bytes of the longest text.
    pub fn longest(&self) -> usize {
        self.entries.iter().map(|(text, _)| text.len()).max().unwrap_or(0)
    }

    fn longest_at(&self, bytes: &[u8], start: usize) -> Option<Found> {
        let mut candidates = &self.entries[..];
        let mut best = None;
        for (length, &byte) in bytes[start..].iter().enumerate() {
            let at = |text: &str| text.as_bytes().get(length).copied();
            let low = candidates.partition_point(|(text, _)| at(text) < Some(byte));
            let high = candidates.partition_point(|(text, _)| at(text) <= Some(byte));
            candidates = &candidates[low..high];
            match candidates.first() {
                None => break,
                // Sorted: the text that ends here comes before the longer ones.
                Some((text, id)) if text.len() == length + 1 => {
                    best = Some(Found { start, end: start + length + 1, id: *id });
                }
                Some(_) => {}
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(texts: &[&str]) -> Matcher {
        Matcher::new(texts.iter().zip(0..).map(|(text, id)| ((*text).to_owned(), id)))
    }

    #[test]
    fn leftmost_then_longest() {
        let matcher = matcher(&["<a>", "<a><b>", "b>", ""]);
        let found = |start, end, id| Some(Found { start, end, id });
        assert_eq!(matcher.find("x<a><b>", 0), found(1, 7, 1));
        assert_eq!(matcher.find("x<a><c>", 0), found(1, 4, 0));
        assert_eq!(matcher.find("x<a><b>", 2), found(5, 7, 2));
        assert_eq!(matcher.find("é<", 0), None);
        assert_eq!(matcher.id("<a>"), Some(0));
        assert!(matcher.is_beginning("<a><"));
        assert!(matcher.is_beginning("<a>"));
        assert!(!matcher.is_beginning("<a><b>"));
        assert!(!matcher.is_beginning("c"));
    }

    #[test]
    fn many_texts_and_a_repetitive_text_stay_fast() {
        let texts: Vec<String> = (0..6000).map(|number| format!("<unused{number}>")).collect();
        let matcher = Matcher::new(texts.into_iter().zip(0..));
        let text = "<unused".repeat(50_000);
        assert_eq!(matcher.find(&text, 0), None);
    }
}
