//! The sum over every `test result:` line.

use std::fmt;

/// What the tests did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    pub(crate) skipped_names: Vec<String>,
}

impl Summary {
    /// Takes in a line that a test binary printed.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(counts) = line.trim().strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.skipped += count(counts, "ignored");
        } else if let Some(name) = skipped(line) {
            self.skipped_names.push(name.to_owned());
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
            ..
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// The number before `what` in `ok. 5 passed; 0 failed; …`.
fn count(counts: &str, what: &str) -> u64 {
    let mut words = counts.split([' ', ';']).filter(|word| !word.is_empty());
    let mut before = "";
    words
        .find_map(|word| {
            if word == what {
                before.parse().ok()
            } else {
                before = word;
                None
            }
        })
        .unwrap_or(0)
}

/// The name in `test NAME ... ignored` and `test NAME ... ignored, REASON`.
fn skipped(line: &str) -> Option<&str> {
    let (name, outcome) = line.trim().strip_prefix("test ")?.split_once(" ... ")?;
    outcome
        .trim_start()
        .starts_with("ignored")
        .then(|| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(output: &str) -> Summary {
        let mut summary = Summary::default();
        output.lines().for_each(|line| summary.read(line));
        summary
    }

    #[test]
    fn results_of_several_binaries_add_up() {
        let output = "test a ... ok\n\
            test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 3 filtered out; finished\n";
        assert_eq!(
            summary(output).to_string(),
            "12 passed, 2 failed, 1 skipped"
        );
    }

    #[test]
    fn skipped_tests_are_known_by_name() {
        let output = "test lab::two interfaces ... ignored\n\
            test a 100 MB transfer    ... ignored, no space left\n\
            test ignored names ... ok\n";
        assert_eq!(
            summary(output).skipped_names,
            ["lab::two interfaces", "a 100 MB transfer"]
        );
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(
            summary("5 passed; 3 failed\ntest result\n\n"),
            Summary::default()
        );
    }
}
