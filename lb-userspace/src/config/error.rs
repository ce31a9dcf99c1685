//! Mistakes in a configuration: where, what, and what to do.

use std::fmt;
use std::io;
use std::ops::Range;

use crate::nearest;

/// A mistake in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The file as the user named it.
    pub file: String,
    /// Line and column of the mistake, from 1; `None` if it concerns the whole file.
    pub place: Option<(usize, usize)>,
    /// The key it is about, such as `service.address`; empty if none.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub hint: String,
}

impl Error {
    pub(super) fn unreadable(file: &str, cause: &io::Error) -> Self {
        let hint = match cause.kind() {
            io::ErrorKind::NotFound => "name the file with --config, or write one",
            io::ErrorKind::PermissionDenied => "run as root, or make the file readable",
            _ => "name a readable UTF-8 text file with --config",
        };
        Self {
            file: file.to_owned(),
            place: None,
            key: String::new(),
            problem: format!("cannot read the file: {cause}"),
            hint: hint.to_owned(),
        }
    }
}

impl fmt::Display for Error {
    /// `lb.toml:5:11: service.address: … (hint)`, without the hint: that is printed on its own.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.file)?;
        if let Some((line, column)) = self.place {
            write!(out, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(out, ": {}", self.key)?;
        }
        write!(out, ": {}", self.problem)
    }
}

impl std::error::Error for Error {}

/// A mistake that knows its bytes in the text, not yet its line.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) span: Option<Range<usize>>,
    /// What it contradicts: its line is told after the problem.
    pub(super) first: Option<Range<usize>>,
    pub(super) key: &'static str,
    pub(super) problem: String,
    pub(super) hint: String,
}

impl Mistake {
    pub(super) fn new(
        span: Range<usize>,
        key: &'static str,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            span: Some(span),
            first: None,
            key,
            problem: problem.into(),
            hint: hint.into(),
        }
    }

    /// With the place of what it contradicts.
    pub(super) fn after(self, first: Range<usize>) -> Self {
        Self {
            first: Some(first),
            ..self
        }
    }

    pub(super) fn locate(mut self, text: &str, file: &str) -> Error {
        if let Some(first) = self.first {
            let (line, _) = line_and_column(text, first.start);
            self.problem += &format!(": line {line}");
        }
        Error {
            file: file.to_owned(),
            place: self.span.map(|span| line_and_column(text, span.start)),
            key: self.key.to_owned(),
            problem: self.problem,
            hint: self.hint,
        }
    }
}

/// What the TOML parser or the shape says, with the nearest known key for a mistyped one.
pub(super) fn from_toml(cause: &toml::de::Error) -> Mistake {
    let problem = cause.message().replace('\n', "; ");
    Mistake {
        span: cause.span(),
        first: None,
        key: "",
        hint: toml_hint(&problem),
        problem,
    }
}

fn toml_hint(problem: &str) -> String {
    // serde: "unknown field `wieght`, expected one of `name`, `weight`".
    let mut quoted = problem.split('`').skip(1).step_by(2);
    if problem.starts_with("unknown field") || problem.starts_with("unknown variant") {
        let typed = quoted.next().unwrap_or_default();
        return match nearest::to(typed, quoted) {
            Some(known) => format!("did you mean `{known}`?"),
            None => "remove it, or use one of the known ones".to_owned(),
        };
    }
    if problem.starts_with("missing field") {
        return format!("add `{} = …`", quoted.next().unwrap_or_default());
    }
    "see the example in the README".to_owned()
}

/// Line and column of byte `at`, both from 1; columns count characters.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}
