//! What only a terminal gets: progress, colour, a question. Everything here talks on stderr;
//! results go to stdout.
//!
//! Nobody is waited for before the work is done, and then for a moment. Only what is itself the
//! result of a command that reads, as `audit` through a pager, is written for as long as its reader
//! takes.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::domain::text::{CUT, shown_json};
use crate::run::RunError;
use crate::telemetry;

/// Says a line to a person on stderr, as `eprintln!` would; but a stderr that is broken, or that
/// nobody reads, changes nothing and holds nothing up.
macro_rules! tell {
    ($($text:tt)*) => { $crate::cli::terminal::say(&format!("{}\n", format_args!($($text)*))) };
}
pub(super) use tell;

/// Says something on stderr that is no whole line.
pub(super) fn say(text: &str) {
    telemetry::tell(text);
}

/// Writes a result to stdout, for as long as its reader takes.
pub(super) fn print(text: &str) -> Result<(), RunError> {
    telemetry::flush(); // what was said before comes before
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| RunError::unheard(&error))
}

/// Writes what an order came to: that it cannot be heard is told, and is no failure of the order.
/// The order is done, so its reader is waited for a moment.
pub(super) fn print_done(text: &str) {
    telemetry::flush();
    telemetry::show(text);
    if let Err(error @ RunError::Failed(_)) =
        telemetry::shown_so_far().map_err(|error| RunError::unheard(&error))
    {
        tell!("{error}");
    }
}

/// A document in one line; what people would not see in it is written out as JSON does.
pub(super) fn json_line(document: &Value) -> String {
    format!("{}\n", shown_json(&document.to_string()))
}

/// A report whose lines are no wider than so many columns; what was cut off is told by its last
/// sign.
pub(super) fn fit(text: &str, columns: usize) -> String {
    text.split_inclusive('\n')
        .map(|line| fit_line(line, columns))
        .collect()
}

/// What the rows of a report begin with that say what people wrote.
const WORDS: [&str; 7] = [
    "by", "held", "declared", "command", "ended", "KILLED", "stays",
];

/// A report for a terminal of so many columns. What people wrote is cut where it would run over, or
/// it could stand where our own lines begin; what is ours, as a command to type, stays whole.
pub(super) fn fit_words(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else {
        return text.to_owned();
    };
    let words = |line: &str| {
        line.strip_prefix("  ").is_some_and(|row| {
            row.split_whitespace()
                .next()
                .is_some_and(|row| WORDS.contains(&row))
        })
    };
    let lines = text.split_inclusive('\n');
    lines
        .map(|line| {
            if words(line) {
                fit_line(line, columns)
            } else {
                line.to_owned()
            }
        })
        .collect()
}

fn fit_line(line: &str, columns: usize) -> String {
    let (mut out, mut width, mut colour) = (String::with_capacity(line.len()), 0, false);
    let (line, end) = line
        .strip_suffix('\n')
        .map_or((line, ""), |line| (line, "\n"));
    let total: usize = visible(line).map(|(_, width)| width).sum();
    for (c, wide) in visible(line) {
        colour |= c == '\u{1b}';
        if wide > 0 && total > columns && width + wide >= columns {
            out.push(CUT);
            out.push_str(if colour { "\u{1b}[0m" } else { "" });
            break;
        }
        width += wide;
        out.push(c);
    }
    out + end
}

/// Every character and the columns it takes: none for what only colours, two for what East Asian
/// scripts and emoji take.
fn visible(line: &str) -> impl Iterator<Item = (char, usize)> {
    let mut colours = false;
    line.chars().map(move |c| {
        let begins = c == '\u{1b}';
        let within = colours || begins;
        colours = within && (begins || !c.is_ascii_alphabetic());
        let wide = matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{1f300}'..='\u{1faff}'
            | '\u{20000}'..='\u{3fffd}');
        (c, if within { 0 } else { 1 + usize::from(wide) })
    })
}

/// Columns of the terminal that stdout is.
pub(super) fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// How far something is: one line that is written over, on a terminal alone.
pub(super) struct Progress {
    on: bool,
    shown: Option<(String, i64)>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            on: io::stderr().is_terminal(),
            shown: None,
        }
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
        let (text, end) = text
            .strip_suffix('\n')
            .map_or((text, ""), |text| (text, "\n"));
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m{end}")
        } else {
            format!("{text}{end}")
        }
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

#[cfg(test)]
mod tests {
    use super::fit_words;

    #[test]
    fn what_people_wrote_stands_at_the_start_of_no_line_of_a_terminal() {
        let padded = format!("dana{}default: open, all is well", " ".repeat(200));
        let next = "  next      echo-phoenix revive --epoch 01HZY3V8Q0000000000000000 --operator YOU --reason WHY";
        let text = format!(
            "default: KILLED\n  by        {padded}\n  held      at 5 % or more, by {padded}\n{next}\n"
        );
        let text = format!(
            "{text}  command   it was done: {padded} of all\n  ended     60 % or more by {padded}\n"
        );
        let text = format!("{text}    stays killed by {padded}\n    KILLED at once by {padded}\n");
        let fitted = fit_words(&text, Some(40));
        let lines: Vec<_> = fitted.lines().collect();
        assert_eq!(lines.len(), 8);
        assert_eq!(
            (lines[0], lines[3]),
            ("default: KILLED", next),
            "what is ours is whole"
        );
        for line in [&lines[1..3], &lines[4..]].concat() {
            assert!(
                line.chars().count() <= 40 && line.ends_with('…') && !line.contains("all is well"),
                "{line}"
            );
        }
        assert_eq!(fit_words(&text, None), text, "a file has no width");
    }
}
