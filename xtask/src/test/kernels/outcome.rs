//! What a machine said.

use std::fmt::Write as _;

use super::release::Release;
use crate::test::summary::Summary;

/// How the tests end.
const ALL_PASSED: &str = "all passed";

/// What lb says on a kernel that it does not run on.
const REFUSAL: &str = "lb needs Linux";

/// How it went in one kernel.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The kernel's version.
    version: String,
    /// What the kernel lacks, and what that costs.
    lacks: Vec<String>,
    /// How many instructions its verifier walked, of a million that it would.
    verified: Option<String>,
    /// Why lb does not run there.
    refusal: Option<String>,
    /// How the tests ended: [`ALL_PASSED`], or otherwise.
    ending: Option<String>,
    summary: Summary,
    /// What the tests say of failures.
    failures: String,
}

impl Outcome {
    /// Takes in the lines of `lb-tests`' program `guest` and of the tests.
    pub(super) fn read(output: &str) -> Self {
        let mut outcome = Self::default();
        let mut is_of_failures = false;
        for line in output.lines() {
            outcome.summary.read(line);
            let (key, value) = line.split_once(": ").unwrap_or((line, ""));
            match key {
                "kernel" => value.clone_into(&mut outcome.version),
                "lacks" => outcome.lacks.push(value.to_owned()),
                "verified" => outcome.verified = Some(value.to_owned()),
                "refused" => outcome.refusal = Some(value.to_owned()),
                "guest" => outcome.ending = Some(value.to_owned()),
                "failures:" => is_of_failures = true,
                "test result" => is_of_failures = false,
                _ => {}
            }
            if is_of_failures {
                let _ = writeln!(outcome.failures, "{line}");
            }
        }
        outcome
    }

    /// Whether every test passed; on a kernel that lb does not run on, whether lb says so.
    pub(super) fn is_as_expected(&self, release: &Release) -> bool {
        let all_pass = self.summary.passed > 0
            && self.summary.failed == 0
            && self.ending.as_deref() == Some(ALL_PASSED);
        match &self.refusal {
            // Any other error is one of ours.
            Some(refusal) => !release.is_served && refusal.starts_with(REFUSAL),
            None => release.is_served && all_pass,
        }
    }

    /// One line, one more for each thing that the kernel lacks, and what failed.
    pub(super) fn line(&self, release: &Release) -> String {
        let version = if self.version.is_empty() {
            release.series
        } else {
            &self.version
        };
        let mut line = match (&self.refusal, &self.ending) {
            (Some(refusal), _) => format!("{version}: refused: {refusal}"),
            (None, Some(ending)) if self.summary.passed + self.summary.failed == 0 => {
                format!("{version}: no test ran: {ending}")
            }
            (None, Some(_)) => format!("{version}: {}", self.summary),
            (None, None) => format!("{version}: the kernel stopped; {}", self.summary),
        };
        if let Some(count) = &self.verified {
            let _ = write!(line, "; {count} instructions verified");
        }
        for lack in &self.lacks {
            let _ = write!(line, "\n    {lack}");
        }
        if !self.failures.is_empty() {
            let _ = write!(line, "\n{}", self.failures);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(series: &str) -> Release {
        series.parse().unwrap()
    }

    #[test]
    fn passed_tests_are_a_line_and_so_is_each_thing_that_is_missing() {
        let outcome = Outcome::read(
            "kernel: 6.1.192\nlacks: no TCX (6.6): a filter is used\nverified: 140000\ntest a ... ok\n\
             test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured\n\nguest: all passed\n",
        );
        assert!(outcome.is_as_expected(&release("6.1")));
        assert_eq!(
            outcome.line(&release("6.1")),
            "6.1.192: 5 passed, 0 failed, 0 skipped; 140000 instructions verified\n    no TCX (6.6): a filter is used"
        );
    }

    #[test]
    fn a_failure_is_shown_with_its_words() {
        let outcome = Outcome::read(
            "kernel: 6.1.192\ntest a ... FAILED\n\nfailures:\n\n---- a ----\nbecause\n\n\
             test result: FAILED. 4 passed; 1 failed; 0 ignored;\n\nguest: exit status: 101\n",
        );
        assert!(!outcome.is_as_expected(&release("6.1")));
        assert!(outcome.line(&release("6.1")).contains("because"));
    }

    #[test]
    fn an_old_kernel_has_to_be_refused_and_no_other_may_be() {
        let refused = Outcome::read("kernel: 5.10.1\nrefused: lb needs Linux 6\nguest: no test\n");
        assert!(refused.is_as_expected(&release("5.10")));
        assert!(!refused.is_as_expected(&release("6.1")));
        assert_eq!(
            refused.line(&release("5.10")),
            "5.10.1: refused: lb needs Linux 6"
        );
    }

    #[test]
    fn a_kernel_that_stops_is_no_success() {
        let stopped = Outcome::read("kernel: 6.1.1\ntest a ... ok\n");
        assert!(!stopped.is_as_expected(&release("6.1")));
        assert!(stopped.line(&release("6.1")).contains("stopped"));
        let silent = Outcome::read("");
        assert!(!silent.is_as_expected(&release("6.1")));
    }
}
