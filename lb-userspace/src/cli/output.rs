//! Where answers are printed, and how.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use super::Output;
use crate::render::Style;

/// Standard output with a form.
#[derive(Clone, Copy)]
pub(super) struct Page {
    output: Output,
    style: Style,
}

impl Page {
    pub(super) fn of(output: Output) -> Self {
        // https://no-color.org: set and not empty.
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let style = Style {
            colour: io::stdout().is_terminal() && !forbidden,
        };
        Self { output, style }
    }

    /// How text for people is marked; `None` if the output is for programs.
    pub(super) fn style(self) -> Option<Style> {
        (self.output == Output::Table).then_some(self.style)
    }

    pub(super) fn print<T: Serialize>(
        self,
        answer: &T,
        render: impl FnOnce(&T, Style) -> String,
    ) -> io::Result<()> {
        let text = match self.output {
            Output::Table => render(answer, self.style),
            Output::Json => serde_json::to_string_pretty(answer)? + "\n",
        };
        self.print_bytes(text.as_bytes())
    }

    pub(super) fn print_bytes(self, text: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text)?;
        out.flush()
    }
}
