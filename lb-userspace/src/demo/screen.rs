//! What the demo shows: text on standard output, what is under way on standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::render::Style;

/// How often the sign of life turns.
const TURN: Duration = Duration::from_millis(80);

/// Standard output, and a line below it that says what is under way: on a terminal a moving one that
/// vanishes, otherwise a plain one.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    style: Style,
    bar: ProgressBar,
    moving: bool,
}

impl Screen {
    pub(super) fn new(style: Style) -> Self {
        let moving = io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        // The template is a constant: if it were wrong, the default one would do.
        if let Ok(look) = ProgressStyle::with_template("   {spinner} {msg}") {
            bar.set_style(look.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
        }
        Self { style, bar, moving }
    }

    pub(super) fn style(&self) -> Style {
        self.style
    }

    /// Prints a text.
    pub(super) fn say(&self, text: &str) -> io::Result<()> {
        self.bar.suspend(|| {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.write_all(b"\n")?;
            out.flush()
        })
    }

    /// Says what is under way until the step is dropped.
    pub(super) fn begin(&self, what: impl Into<String>) -> Step<'_> {
        let what = what.into();
        if self.moving {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.set_message(what);
            self.bar.enable_steady_tick(TURN);
        } else {
            // A progress nobody reads is no reason to stop.
            let _ = writeln!(io::stderr(), "   … {what}");
        }
        Step { screen: self }
    }

    /// Puts the terminal right.
    pub(super) fn clear(&self) {
        self.bar.disable_steady_tick();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
        if self.moving {
            // Back to the first column, and the line emptied; the cursor is visible again.
            let _ = write!(io::stderr(), "\r\x1b[K\x1b[?25h");
        }
    }
}

/// Something under way.
#[must_use = "it is over when this is dropped"]
pub(super) struct Step<'s> {
    screen: &'s Screen,
}

impl Step<'_> {
    /// Says how far it is; on a terminal only.
    pub(super) fn tell(&self, what: impl Into<String>) {
        if self.screen.moving {
            self.screen.bar.set_message(what.into());
        }
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.screen.clear();
    }
}

/// A table moved in, its verdicts marked.
pub(super) fn indented(table: &str, style: Style) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text += "   ";
        text += &match (line.strip_suffix('✔'), line.rsplit_once('✘')) {
            (Some(row), _) => format!("{row}{}", style.good("✔")),
            (_, Some((row, why))) => format!("{row}{}", style.bad(&format!("✘{why}"))),
            _ => line.to_owned(),
        };
        text += "\n";
    }
    text
}
