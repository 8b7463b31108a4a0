//! Progress on stderr, if it is a terminal; else nothing at all.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

const BYTES: &str = "{msg:12} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec:>12} {eta:>4}";
const UNKNOWN: &str = "{msg:12} {spinner} {binary_bytes} {binary_bytes_per_sec:>12}";
const SPINNER: &str = "{spinner} {msg} {elapsed}";

/// A line that shows how far something is, and goes away at the end.
pub struct Bar(ProgressBar);

impl Bar {
    /// For bytes of a file.
    pub fn bytes() -> Self {
        Self(ProgressBar::no_length().with_style(style(UNKNOWN)))
    }

    /// For something whose end nobody knows.
    pub fn spinner(message: impl Into<String>) -> Self {
        let bar = ProgressBar::no_length().with_style(style(SPINNER)).with_message(message.into());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// `loaded` of `total` bytes, and what is being done with them.
    pub fn set(&self, what: &'static str, loaded: u64, total: Option<u64>) {
        if self.0.message() != what || self.0.length() != total {
            if self.0.message() != what {
                self.0.reset();
            }
            self.0.set_style(style(if total.is_some() { BYTES } else { UNKNOWN }));
            match total {
                Some(total) => self.0.set_length(total),
                None => self.0.unset_length(),
            }
            self.0.set_message(what);
        }
        self.0.set_position(loaded);
    }

    /// What a spinner spins for.
    pub fn say(&self, message: String) {
        self.0.set_message(message);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
