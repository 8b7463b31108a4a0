//! Numbers and outcomes as people read them.

use kinglet::api::types::{FinishReason, Usage};

/// Bytes in decimal units: `98.8 MB`.
pub fn bytes(n: f64) -> String {
    let (value, unit) = match n {
        n if n < 1e3 => return format!("{n:.0} B"),
        n if n < 1e6 => (n / 1e3, "kB"),
        n if n < 1e9 => (n / 1e6, "MB"),
        n => (n / 1e9, "GB"),
    };
    if value < 99.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Time left in words: `about 2 minutes left`.
pub fn time_left(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() || s < 0.0 => String::new(),
        s if s < 2.0 => "almost there".into(),
        s if s < 55.0 => format!("about {:.0} seconds left", if s < 10.0 { s } else { (s / 5.0).round() * 5.0 }),
        s if s < 90.0 => "about a minute left".into(),
        s if s < 5400.0 => format!("about {:.0} minutes left", s / 60.0),
        s => format!("about {:.0} hours left", s / 3600.0),
    }
}

/// Thousands apart: `2,048`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Numbers of weights: `135 M`.
pub fn parameters(n: u64) -> String {
    match n as f64 {
        n if n < 1e9 => format!("{:.0} M", n / 1e6),
        n => format!("{:.1} B", n / 1e9),
    }
}

/// Tokens per second, with a decimal where it says something.
pub fn rate(per_second: f64) -> String {
    if per_second < 19.95 { format!("{per_second:.1}") } else { format!("{per_second:.0}") }
}

/// The last part of a URL's path, without query and escapes, as a model's name.
pub fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path).replace("%20", " ")
}

/// Why an answer ended, where that is not plain; at most `most` tokens were asked for, in a context of `context`.
pub fn ending(finish: FinishReason, usage: &Usage, most: u32, context: u32) -> Option<&'static str> {
    match finish {
        FinishReason::Stop => None,
        FinishReason::Abort => Some("stopped"),
        FinishReason::Length if usage.total_tokens >= context => Some("the context is full"),
        FinishReason::Length if usage.completion_tokens >= most => Some("cut at the longest length"),
        FinishReason::Length => Some("the GPU has no memory for more"),
    }
}

/// That an answer was given without the oldest messages, which had no room in the context any more.
pub fn forgotten(messages: u32) -> String {
    match messages {
        1 => "the oldest message is forgotten".into(),
        n => format!("the oldest {} messages are forgotten", count(n.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_tell_what_was_full() {
        let length = |prompt, tokens| ending(FinishReason::Length, &Usage::new(prompt, tokens, 0), 100, 4096);
        assert_eq!(length(50, 100), Some("cut at the longest length"));
        assert_eq!(length(4000, 96), Some("the context is full"));
        assert_eq!(length(50, 99), Some("the GPU has no memory for more"));
        let usage = Usage::new(50, 100, 0);
        assert_eq!(ending(FinishReason::Stop, &usage, 100, 4096), None);
        assert_eq!(ending(FinishReason::Abort, &usage, 100, 4096), Some("stopped"));
    }

    #[test]
    fn what_is_forgotten_is_counted() {
        assert_eq!(forgotten(1), "the oldest message is forgotten");
        assert_eq!(forgotten(1024), "the oldest 1,024 messages are forgotten");
    }

    #[test]
    fn bytes_have_one_decimal_below_a_hundred() {
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(98_834_567.0), "98.8 MB");
        assert_eq!(bytes(386e6), "386 MB");
        assert_eq!(bytes(1.5e9), "1.5 GB");
    }

    #[test]
    fn time_left_is_calm() {
        assert_eq!(time_left(1.0), "almost there");
        assert_eq!(time_left(7.4), "about 7 seconds left");
        assert_eq!(time_left(43.0), "about 45 seconds left");
        assert_eq!(time_left(61.0), "about a minute left");
        assert_eq!(time_left(125.0), "about 2 minutes left");
        assert_eq!(time_left(f64::INFINITY), "");
        assert_eq!(time_left(f64::NAN), "");
    }

    #[test]
    fn counts_and_rates() {
        assert_eq!(count(2048), "2,048");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(rate(12.34), "12.3");
        assert_eq!(rate(123.4), "123");
        assert_eq!(parameters(134_515_008), "135 M");
        assert_eq!(parameters(1_720_000_000), "1.7 B");
    }

    #[test]
    fn file_names_come_from_urls() {
        assert_eq!(file_name("https://x.org/a/b.gguf?download=true"), "b.gguf");
        assert_eq!(file_name("b.gguf"), "b.gguf");
        assert_eq!(file_name("https://x.org/a%20b.gguf#f"), "a b.gguf");
    }
}
