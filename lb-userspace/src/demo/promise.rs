//! What the demo promises, and whether it was kept.

use std::fmt::Write as _;

use crate::lab::chance::is_likely;
use crate::lab::{Counts, Held};
use crate::render::Style;

/// What has been seen so far. Times in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Promises {
    asked: usize,
    answered: usize,
    shares: usize,
    wrong_shares: Vec<String>,
    held: Held,
    silent_steps: Vec<String>,
    slowest_ms: f64,
    others: Vec<String>,
}

/// Whether all promises were kept.
#[derive(Debug)]
#[must_use]
pub struct Verdict {
    promises: Vec<Promise>,
    slowest_ms: f64,
}

#[derive(Debug)]
struct Promise {
    what: &'static str,
    seen: String,
    kept: bool,
}

impl Promises {
    /// Takes in new connections of which `share` should have come to `name`, and tells whether that
    /// can be chance.
    pub(super) fn judge_share(
        &mut self,
        what: &str,
        counts: &Counts,
        name: &str,
        share: f64,
    ) -> bool {
        self.asked += counts.answered() + counts.failed();
        self.answered += counts.answered();
        self.shares += 1;
        let likely = is_likely(counts.of(name), counts.answered(), share);
        if !likely {
            self.wrong_shares.push(format!("{what}: {counts}"));
        }
        likely
    }

    /// Takes in the time from a command to its effect.
    pub(super) fn note_change(&mut self, effect_ms: f64) {
        self.slowest_ms = self.slowest_ms.max(effect_ms);
    }

    /// Takes in that held connections said nothing during a step.
    pub(super) fn note_silence(&mut self, step: &str) {
        self.silent_steps.push(step.to_owned());
    }

    /// Takes in how the held connections fared in the end.
    pub(super) fn note_held(&mut self, held: Held) {
        self.held = held;
    }

    /// Takes in anything else that is not as it should be.
    pub(super) fn note_trouble(&mut self, what: String) {
        self.others.push(what);
    }

    pub(super) fn judge(self) -> Verdict {
        let Held {
            broken,
            echoed,
            moved,
            ..
        } = self.held;
        let mut promises = vec![
            Promise {
                what: "every new flow is answered",
                seen: format!("{} of {}", self.answered, self.asked),
                kept: self.answered == self.asked && self.asked > 0,
            },
            Promise {
                what: "every share is as asked",
                seen: list(
                    format!(
                        "{} of {} within chance",
                        self.shares - self.wrong_shares.len(),
                        self.shares
                    ),
                    &self.wrong_shares,
                ),
                kept: self.wrong_shares.is_empty() && self.shares > 0,
            },
            Promise {
                what: "no connection breaks or moves",
                seen: list(
                    format!("{broken} broken, {moved} moved, {echoed} echoes"),
                    &self.silent_steps,
                ),
                kept: broken == 0 && moved == 0 && echoed > 0 && self.silent_steps.is_empty(),
            },
        ];
        promises.extend(self.others.into_iter().map(|seen| Promise {
            what: "lbd runs to the end",
            seen,
            kept: false,
        }));
        Verdict {
            promises,
            slowest_ms: self.slowest_ms,
        }
    }
}

impl Verdict {
    /// The promises that were not kept, each with what was seen instead.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let broken = self.promises.iter().filter(|it| !it.kept);
        broken
            .map(|it| format!("{}: {}", it.what, it.seen))
            .collect()
    }

    pub(super) fn describe(&self, style: Style) -> String {
        let mut text = String::new();
        for it in &self.promises {
            let mark = match it.kept {
                true => style.good("✔"),
                false => style.bad("✘"),
            };
            let _ = writeln!(text, " {mark} {:<30} {}", it.what, it.seen);
        }
        let _ = write!(
            text,
            "   {:<30} {:.1} ms at most",
            "from command to effect", self.slowest_ms
        );
        text
    }
}

fn list(head: String, exceptions: &[String]) -> String {
    match exceptions {
        [] => head,
        some => format!("{head}; not: {}", some.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn counts(one: usize, two: usize, failed: usize) -> Counts {
        Counts {
            by_name: [("one".to_owned(), one), ("two".to_owned(), two)].into(),
            errors: [("lost".to_owned(), failed)].into(),
            late: 0,
            elapsed: Duration::ZERO,
        }
    }

    fn held() -> Held {
        Held {
            echoed: 1000,
            ..Held::default()
        }
    }

    #[test]
    fn a_healthy_run_keeps_every_promise() {
        let mut promises = Promises::default();
        assert!(promises.judge_share("1:1", &counts(504, 496, 0), "two", 0.5));
        promises.note_held(held());
        assert!(promises.judge().broken().is_empty());
    }

    #[test]
    fn what_was_not_kept_is_named() {
        let mut promises = Promises::default();
        assert!(!promises.judge_share("1:3", &counts(500, 499, 1), "two", 0.75));
        promises.note_held(Held {
            broken: 1,
            ..held()
        });
        let broken = promises.judge().broken();
        assert_eq!(broken.len(), 3, "{broken:?}");
        assert!(broken[1].contains("1:3: one 500, two 499"), "{broken:?}");
    }

    #[test]
    fn a_run_that_showed_nothing_keeps_nothing() {
        assert_eq!(Promises::default().judge().broken().len(), 3);
    }
}
