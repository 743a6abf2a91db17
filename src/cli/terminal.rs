//! What only a terminal gets: progress, colour, a question. Everything here talks on stderr; results go to stdout.

use std::io::{self, IsTerminal, Write};

use crate::run::RunError;
use crate::telemetry;

/// Says a line to a person on stderr, as `eprintln!` would; but a stderr that is broken, or that nobody reads, changes
/// nothing.
macro_rules! tell {
    ($($text:tt)*) => { $crate::cli::terminal::say(&format!("{}\n", format_args!($($text)*))) };
}
pub(super) use tell;

/// Says something on stderr that is no whole line.
pub(super) fn say(text: &str) {
    telemetry::tell(text);
}

/// Writes a result to stdout.
pub(super) fn print(text: &str) -> Result<(), RunError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(RunError::Enough),
        done => done.map_err(|error| RunError::Failed(format!("stdout: {error}"))),
    }
}

/// Writes what an order came to: that it cannot be heard is told, and is no failure of the order.
pub(super) fn print_done(text: &str) {
    if let Err(RunError::Failed(error)) = print(text) {
        tell!("{error}");
    }
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
            say(&format!("\r\x1b[K{part}: {done} of {all}, {percent} %"));
            self.shown = now;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            say("\r\x1b[K");
        }
    }
}

/// Colour, where there is somebody to see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// Colour on a terminal alone, and not where `NO_COLOR` says otherwise.
    pub(super) fn new(no_color: Option<&str>) -> Self {
        Self(io::stdout().is_terminal() && no_color.is_none_or(str::is_empty))
    }

    /// What stops.
    pub(super) fn alarm(self, text: &str) -> String {
        self.sgr("1;31", text)
    }

    /// What is limited, or wants a look.
    pub(super) fn warn(self, text: &str) -> String {
        self.sgr("33", text)
    }

    /// What is as it should be.
    pub(super) fn good(self, text: &str) -> String {
        self.sgr("32", text)
    }

    fn sgr(self, code: &str, text: &str) -> String {
        let (text, end) = text.strip_suffix('\n').map_or((text, ""), |text| (text, "\n"));
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m{end}") } else { format!("{text}{end}") }
    }
}

/// Clears a terminal for a report in place; answers whether stdout is one.
pub(super) fn clear() -> Result<bool, RunError> {
    let on = io::stdout().is_terminal();
    if on {
        print("\x1b[H\x1b[2J")?;
    }
    Ok(on)
}
