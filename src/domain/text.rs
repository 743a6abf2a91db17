//! Text of somebody else: how it is kept, and how it is shown to people.
//!
//! It is kept as it came, but for what no store takes. Where a person reads it, nothing in it may
//! move a cursor, turn the reading direction or hide: one rule for terminals, logs, Events,
//! conditions and the mirror. Knows none of them.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What stands in the place of words that nobody gave.
pub const NONE_GIVEN: &str = "(none given)";
/// What stands at the end of a text that was cut.
pub const CUT: char = '…';
/// Longest reason, characters: what the custom resources take.
pub const REASON_LIMIT: usize = 1024;
/// Longest operator.
pub const OPERATOR_LIMIT: usize = 256;

/// Whether a character does something instead of being seen: controls, what turns the reading
/// direction, what has no width.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' // zero width, joiners among them, and marks of direction
            | '\u{2028}'..='\u{202e}' // ends of lines and paragraphs, embedded directions
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether nothing of a text is seen: spaces of any kind, the empty pattern of Braille, what has no
/// width. Controls are written out where a text is shown, so they are seen.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_whitespace() || c == '\u{2800}' || (is_hidden(c) && !c.is_control()))
}

/// A text as people are shown it: what would not be seen is written out, as `\u{1b}`.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden, |out, c| {
        let _ = write!(out, "\\u{{{:x}}}", u32::from(c)); // a String takes everything
    })
}

/// The same for a text of several lines of ours, whose line ends stay.
#[must_use]
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |c| c != '\n' && is_hidden(c),
        |out, c| {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        },
    )
}

/// A JSON document with the same written out as JSON does. Outside of strings there is none of it
/// but line ends.
#[must_use]
pub fn shown_json(document: &str) -> Cow<'_, str> {
    escaped(
        document,
        |c| !c.is_ascii_whitespace() && is_hidden(c),
        |out, c| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

fn escaped(
    text: &str,
    hidden: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.chars().any(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) {
            escape(&mut out, c)
        } else {
            out.push(c)
        }
    }
    Cow::Owned(out)
}

/// A text as it is kept: raw, but for NUL, which not every store and no C program takes.
#[must_use]
pub fn kept(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\\u{0}")
    } else {
        text
    }
}

/// Words that nobody gave.
#[must_use]
pub fn none_given() -> String {
    NONE_GIVEN.to_owned()
}

/// At most so many characters, the last of which tells that there were more.
#[must_use]
pub fn cut(text: String, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text,
        Some(_) => text
            .chars()
            .take(limit.saturating_sub(1))
            .chain([CUT])
            .collect(),
    }
}

/// The words of whoever stops: never a reason to refuse it.
#[must_use]
pub fn given(text: String, limit: usize) -> String {
    if is_blank(&text) {
        none_given()
    } else {
        cut(kept(text), limit)
    }
}
