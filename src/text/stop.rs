//! Stop strings, found across the borders of tokens.

/// Watches a text that arrives in parts for strings that end it. The string that is complete first wins; of two that
/// are complete at the same place, the longer. However the text is cut into parts, the outcome is the same.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    watches: Vec<Watch>,
    /// The end of the text so far that could still become a stop string.
    held: String,
    stopped: Option<usize>,
}

/// What [`StopStrings::push`] made of a part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopOutcome {
    /// The text that is certainly not part of a stop string.
    pub emit: String,
    /// Which stop string ended the text, by its position in the list.
    pub stopped: Option<usize>,
}

/// One stop string and how much of it the text's end matches.
#[derive(Debug, Clone)]
struct Watch {
    index: usize,
    stop: Box<[u8]>,
    /// For each length: the longest shorter prefix that is a suffix of that prefix (Knuth, Morris, Pratt).
    fallback: Box<[usize]>,
    matched: usize,
}

impl Watch {
    fn new(index: usize, stop: String) -> Self {
        let stop = stop.into_bytes().into_boxed_slice();
        let mut fallback = vec![0; stop.len() + 1];
        for at in 1..stop.len() {
            let mut length = fallback[at];
            while length > 0 && stop[length] != stop[at] {
                length = fallback[length];
            }
            fallback[at + 1] = length + usize::from(stop[length] == stop[at]);
        }
        Self { index, stop, fallback: fallback.into_boxed_slice(), matched: 0 }
    }

    fn step(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.stop[self.matched] != byte {
            self.matched = self.fallback[self.matched];
        }
        self.matched += usize::from(self.stop[self.matched] == byte);
        self.matched == self.stop.len()
    }
}

impl StopStrings {
    /// Empty strings are left out.
    #[must_use]
    pub fn new(stops: Vec<String>) -> Self {
        let watches = stops
            .into_iter()
            .enumerate()
            .filter(|(_, stop)| !stop.is_empty())
            .map(|(index, stop)| Watch::new(index, stop))
            .collect();
        Self { watches, ..Self::default() }
    }

    /// Takes the next part. After a stop string nothing more comes out.
    pub fn push(&mut self, part: &str) -> StopOutcome {
        if self.stopped.is_some() {
            return StopOutcome { emit: String::new(), stopped: self.stopped };
        }
        let mut text = std::mem::take(&mut self.held);
        let before = text.len();
        text += part;
        for (at, &byte) in text.as_bytes().iter().enumerate().skip(before) {
            let complete = self
                .watches
                .iter_mut()
                .filter_map(|watch| watch.step(byte).then_some((watch.stop.len(), watch.index)))
                .max_by_key(|&(length, index)| (length, std::cmp::Reverse(index)));
            if let Some((length, index)) = complete {
                self.stopped = Some(index);
                text.truncate(at + 1 - length);
                return StopOutcome { emit: text, stopped: self.stopped };
            }
        }
        let possible = self.watches.iter().map(|watch| watch.matched).max();
        self.held = text.split_off(text.len() - possible.unwrap_or(0));
        StopOutcome { emit: text, stopped: None }
    }

    /// The text has ended otherwise: what was held back.
    #[must_use = "the text is given out only once"]
    pub fn finish(&mut self) -> String {
        for watch in &mut self.watches {
            watch.matched = 0;
        }
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], parts: &[&str]) -> (String, Option<usize>) {
        let mut watch = StopStrings::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut text = String::new();
        for part in parts {
            let outcome = watch.push(part);
            text += &outcome.emit;
            if outcome.stopped.is_some() {
                return (text, outcome.stopped);
            }
        }
        text += &watch.finish();
        (text, None)
    }

    #[test]
    fn across_borders_and_only_the_needed_is_held() {
        assert_eq!(run(&["\nUser:"], &["Hi\nUs", "er: x"]), ("Hi".to_owned(), Some(0)));
        assert_eq!(run(&["\nUser:"], &["Hi\nUs", "eful"]), ("Hi\nUseful".to_owned(), None));
        let mut watch = StopStrings::new(vec!["aab".to_owned()]);
        assert_eq!(watch.push("xaaa").emit, "xa");
        assert_eq!(watch.push("c").emit, "aac");
        assert_eq!(watch.push("日本").emit, "日本");
        assert_eq!(watch.push("a").emit, "");
        assert_eq!(watch.finish(), "a");
    }

    #[test]
    fn the_first_complete_string_wins_however_the_text_is_cut() {
        let stops = ["abcd", "bc", "c", ""];
        for parts in [&["xabcd"][..], &["xa", "b", "cd"], &["xab", "cd"]] {
            assert_eq!(run(&stops, parts), ("xa".to_owned(), Some(1)));
        }
        assert_eq!(run(&["é", "\u{a9}"], &["café"]), ("caf".to_owned(), Some(0)));
    }

    #[test]
    fn after_a_stop_nothing_comes_out() {
        let mut watch = StopStrings::new(vec!["END".to_owned()]);
        assert_eq!(watch.push("a END b").emit, "a ");
        let again = watch.push("more");
        assert_eq!((again.emit.as_str(), again.stopped), ("", Some(0)));
        assert_eq!(watch.finish(), "");
    }

    #[test]
    fn random_texts_agree_with_a_plain_search() {
        let mut state = 1_u32;
        let mut random = move |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for _ in 0..2000 {
            let letters = |random: &mut dyn FnMut(u32) -> u32, most| {
                let length = 1 + random(most);
                (0..length).map(|_| ["a", "b", "é"][random(3) as usize]).collect::<String>()
            };
            let stops: Vec<String> = (0..3).map(|_| letters(&mut random, 4)).collect();
            let parts: Vec<String> = (0..5).map(|_| letters(&mut random, 4)).collect();
            let whole = parts.concat();
            let first = stops
                .iter()
                .enumerate()
                .filter_map(|(index, stop)| whole.find(stop.as_str()).map(|at| (at + stop.len(), at, index)))
                .min();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let names: Vec<&str> = stops.iter().map(String::as_str).collect();
            let expected = match first {
                Some((_, at, index)) => (whole[..at].to_owned(), Some(index)),
                None => (whole.clone(), None),
            };
            assert_eq!(run(&names, &parts), expected, "{stops:?} {parts:?}");
        }
    }
}
