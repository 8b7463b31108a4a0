//! Writing: results to stdout, everything else to stderr.

use super::exit::{Failure, write_failure};
use kinglet::engine::AbortSignal;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Arguments;
use std::io::{IsTerminal, Write};

/// A line on stderr. That it cannot be written is nothing that could be told anywhere.
pub fn note(line: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A line on stdout.
pub fn line(line: Arguments<'_>) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| write_failure(&error))
}

/// One JSON value on one line of stdout.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::other(format!("cannot write the result as JSON: {error}")))?;
    line(format_args!("{text}"))
}

/// An answer's text on its way to stdout as it comes.
pub struct Stream {
    terminal: bool,
    failure: Option<std::io::Error>,
    abort: AbortSignal,
}

impl Stream {
    /// `abort` is raised if nobody reads any more.
    pub fn new(abort: &AbortSignal) -> Self {
        Self { terminal: std::io::stdout().is_terminal(), failure: None, abort: abort.clone() }
    }

    /// Writes a delta at once.
    pub fn push(&mut self, delta: &str) {
        if delta.is_empty() || self.failure.is_some() {
            return;
        }
        let text = if self.terminal { printable(delta) } else { delta.into() };
        let mut out = std::io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            self.failure = Some(error);
            self.abort.abort();
        }
    }

    /// Whether everything was written.
    pub fn finish(self) -> Result<(), Failure> {
        self.failure.map_or(Ok(()), |error| Err(write_failure(&error)))
    }
}

/// A model's words may hold escape sequences, and a terminal would obey them.
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(harmful) { text.replace(harmful, "\u{fffd}").into() } else { text.into() }
}

/// Bytes for people: `93.8 MiB`.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn escape_sequences_lose_their_power() {
        assert_eq!(printable("a\tb\nc é"), "a\tb\nc é");
        assert_eq!(printable("\x1b[2Jx\r\u{9b}"), "\u{fffd}[2Jx\u{fffd}\u{fffd}");
    }
}
