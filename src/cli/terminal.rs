//! What only a terminal gets: progress, colour, a question. Everything here talks on stderr; results go to stdout.

use std::io::{self, IsTerminal, Write};

use crate::run::RunError;

/// Writes a result to stdout.
pub(super) fn print(text: &str) -> Result<(), RunError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| RunError::Failed(format!("stdout: {error}")))
}

/// How far something is: one line that is written over, on a terminal alone.
pub(super) struct Progress {
    on: bool,
    shown: Option<(String, i64)>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { on: io::stderr().is_terminal(), shown: None }
    }

    /// Tells how much of a part is done, in whole percent.
    pub(super) fn tell(&mut self, part: &str, done: i64, all: i64) {
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
        let now = Some((part.to_owned(), percent));
        if self.on && self.shown != now {
            eprint!("\r\x1b[K{part}: {done} of {all}, {percent} %");
            self.shown = now;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}
