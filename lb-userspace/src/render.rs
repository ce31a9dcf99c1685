//! Answers as people read them. Pure: values in, text out.

mod change;
mod list;
mod number;
mod overview;
mod table;

pub use change::{config, detach, weights};
pub use list::{backends, flows, reasons, services};
pub(crate) use overview::interfaces;
pub use overview::status;
pub(crate) use table::{Column, table};

/// How text is marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Use ANSI colours.
    pub colour: bool,
}

impl Style {
    pub(crate) fn bold(self, text: &str) -> String {
        self.mark("1", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.mark("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.mark("31", text)
    }

    fn warn(self, text: &str) -> String {
        self.mark("33", text)
    }

    fn mark(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// One line a note.
fn notes(notes: &[String], style: Style) -> String {
    notes
        .iter()
        .map(|note| format!("{} {note}\n", style.warn("note:")))
        .collect()
}

#[cfg(test)]
mod tests;
