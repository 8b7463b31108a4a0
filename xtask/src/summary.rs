//! Counting tests over several runners.

use std::fmt::Write;

/// How many tests passed, failed and were skipped.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

/// The stages that ran and what they counted.
#[derive(Debug, Default)]
pub struct Summary {
    stages: Vec<(String, Counts, String)>,
}

impl Summary {
    pub fn add(&mut self, stage: &str, counts: Counts, note: &str) {
        self.stages.push((stage.to_owned(), counts, note.to_owned()));
    }

    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        for (_, counts, _) in &self.stages {
            total.passed += counts.passed;
            total.failed += counts.failed;
            total.skipped += counts.skipped;
        }
        total
    }

    /// A table of the stages; the last line is what CI reads.
    pub fn render(&self) -> String {
        let mut text = String::from("\n");
        for (stage, counts, note) in &self.stages {
            let _ = writeln!(
                text,
                "{stage:<28} {:>5} passed {:>4} failed {:>4} skipped   {note}",
                counts.passed, counts.failed, counts.skipped
            );
        }
        let total = self.total();
        let _ = writeln!(text, "{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
        text
    }
}

/// What nextest's closing line says: `Summary [ 1.2s] 5 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 2 skipped`.
///
/// Its "skipped" also counts what a filter left out, so it is not taken; `nextest_ignored` tells the real number.
pub fn nextest(output: &str) -> Option<Counts> {
    let line = output.lines().rfind(|line| line.trim_start().starts_with("Summary ["))?;
    let (_, said) = line.split_once("run: ")?;
    let mut counts = Counts::default();
    for (number, word) in numbers(said) {
        match word {
            "passed" => counts.passed += number,
            "failed" | "timed" | "exec" => counts.failed += number,
            _ => {}
        }
    }
    Some(counts)
}

/// How many tests the filter chose and the run leaves out as `#[ignore]`d, by `cargo nextest list --message-format json`.
pub fn nextest_ignored(list: &str) -> u64 {
    let Ok(list) = serde_json::from_str::<serde_json::Value>(list) else {
        return 0;
    };
    let suites = list["rust-suites"].as_object().into_iter().flatten();
    let cases = suites.flat_map(|(_, suite)| suite["testcases"].as_object().into_iter().flatten());
    cases.filter(|(_, case)| case["filter-match"]["reason"] == "ignored").count() as u64
}

/// What libtest and wasm-bindgen's runner say: `test result: ok. 3 passed; 0 failed; 1 ignored; …`, once a binary.
pub fn libtest(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in output.lines() {
        let Some((_, said)) = line.split_once("test result: ") else {
            continue;
        };
        for (number, word) in numbers(said) {
            match word {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                "ignored" => counts.skipped += number,
                _ => {}
            }
        }
    }
    counts
}

/// The closing lines of node's test runner: `ℹ pass 3`, `ℹ fail 0`, `ℹ cancelled 0`, `ℹ skipped 1`, `ℹ todo 0`.
pub fn node(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in output.lines() {
        let Some((word, number)) = line.strip_prefix("ℹ ").and_then(|said| said.split_once(' ')) else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match word {
            "pass" => counts.passed += number,
            "fail" | "cancelled" => counts.failed += number,
            "skipped" | "todo" => counts.skipped += number,
            _ => {}
        }
    }
    counts
}

/// Every "NUMBER word" of a line.
fn numbers(line: &str) -> impl Iterator<Item = (u64, &str)> {
    let words = line.split([' ', ',', ';', '(', ')', ':']);
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let pairs: Vec<(u64, &str)> = words.windows(2).filter_map(|pair| Some((pair[0].parse().ok()?, pair[1]))).collect();
    pairs.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextest_is_read() {
        let output =
            "     Summary [   0.1s] 9/12 tests run: 5 passed (1 slow, 1 flaky), 2 failed, 1 timed out, 1 exec failed, 3 skipped\n";
        let counts = nextest(output).expect("a summary");
        assert_eq!((counts.passed, counts.failed, counts.skipped), (5, 4, 0));
        assert_eq!(nextest("nothing"), None);
    }

    #[test]
    fn libtest_is_added_up() {
        let output = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out\n\
                      test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 filtered out";
        let counts = libtest(output);
        assert_eq!((counts.passed, counts.failed, counts.skipped), (4, 2, 1));
    }

    #[test]
    fn node_is_read() {
        let output = "✔ x (3ms)\nℹ tests 4\nℹ suites 0\nℹ pass 2\nℹ fail 1\nℹ cancelled 0\nℹ skipped 1\nℹ todo 0\n";
        assert_eq!(node(output), Counts { passed: 2, failed: 1, skipped: 1 });
    }

    #[test]
    fn ignored_tests_are_counted_and_filtered_ones_not() {
        let list = r#"{"rust-suites": {"a": {"testcases": {
            "x": {"filter-match": {"status": "mismatch", "reason": "ignored"}},
            "y": {"filter-match": {"status": "mismatch", "reason": "expression"}},
            "z": {"filter-match": {"status": "matches"}}}}}}"#;
        assert_eq!(nextest_ignored(list), 1);
    }

    #[test]
    fn the_last_line_is_the_plain_one() {
        let mut summary = Summary::default();
        let counts = Counts { passed: 2, failed: 1, skipped: 3 };
        summary.add("native", counts, "");
        summary.add("browser", counts, "no Chromium");
        assert_eq!(summary.render().lines().last(), Some("4 passed, 2 failed, 6 skipped"));
    }
}
