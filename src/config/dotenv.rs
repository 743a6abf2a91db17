//! The file `.env`, which may be somebody else's: each line stands for itself, and only those that
//! begin with a name of ours are looked at.
//!
//! Nothing is expanded: a value that took up what the environment has would carry it to wherever
//! the value goes.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::files::PatientReader;
use super::not_set;

/// Largest file, bytes.
const LIMIT: usize = 64 << 10;

/// Whether a variable is ours.
type Ours<'a> = &'a dyn Fn(&str) -> bool;

/// What the file says of our variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DotEnv {
    lines: Vec<Line>,
    /// Why it cannot be read, though it is there.
    pub(super) unreadable: Option<String>,
    /// Its mode, if others than its owner may read it.
    pub(super) open: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: String,
    number: usize,
    value: Result<String, &'static str>,
}

impl DotEnv {
    /// Reads a file. One that is not there says nothing, and neither does a folder of that name.
    pub(super) fn read(path: &Path, ours: Ours<'_>) -> Self {
        match PatientReader::of(path, LIMIT).read() {
            Ok(bytes) => {
                let mode =
                    std::fs::metadata(path).map_or(0, |found| found.permissions().mode() & 0o777);
                Self {
                    open: (mode & 0o044 != 0).then_some(mode),
                    ..Self::parse(&bytes, ours)
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {
                Self::default()
            }
            Err(error) => Self {
                unreadable: Some(error.to_string()),
                ..Self::default()
            },
        }
    }

    /// What a text says. Whatever stands in a line that is not ours does not matter, nor that it is
    /// no text.
    pub fn parse(bytes: &[u8], ours: Ours<'_>) -> Self {
        // Some editors begin a file with it.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let lines = bytes.split(|byte| *byte == b'\n').enumerate();
        let lines = lines
            .filter_map(|(index, line)| Line::parse(line.trim_ascii(), index + 1, ours))
            .collect();
        Self {
            lines,
            unreadable: None,
            open: None,
        }
    }

    /// The first value of a variable that is set, and the number of its line.
    pub fn value(&self, name: &str) -> Option<(&str, usize)> {
        let known = self.lines.iter().filter(|line| line.name == name);
        let mut set = known.filter_map(|line| Some((line.value.as_deref().ok()?, line.number)));
        set.find(|(value, _)| !not_set(value))
    }

    /// Lines of ours that say nothing: variable, number, and what is wrong.
    pub fn malformed(&self) -> impl Iterator<Item = (&str, usize, &'static str)> {
        self.lines
            .iter()
            .filter_map(|line| Some((line.name.as_str(), line.number, line.value.clone().err()?)))
    }

    /// Takes out every line of such a variable, and gives their names.
    pub(super) fn take_out(&mut self, which: impl Fn(&str) -> bool) -> Vec<String> {
        let (out, kept) = std::mem::take(&mut self.lines)
            .into_iter()
            .partition(|line: &Line| which(&line.name));
        self.lines = kept;
        let out: Vec<Line> = out;
        out.into_iter().map(|line| line.name).collect()
    }

    /// Every variable of ours that it names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| line.name.as_str())
    }
}

impl Line {
    /// A line, if it begins with a variable of ours.
    fn parse(line: &[u8], number: usize, ours: Ours<'_>) -> Option<Self> {
        let line = match line.strip_prefix(b"export") {
            Some(rest) if rest.first().is_some_and(u8::is_ascii_whitespace) => {
                rest.trim_ascii_start()
            }
            _ => line,
        };
        let letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let end = line
            .iter()
            .position(|byte| !letter(byte))
            .unwrap_or(line.len());
        let (name, rest) = line.split_at_checked(end)?;
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| ours(name))?
            .to_owned();
        let value = match rest.trim_ascii_start().strip_prefix(b"=") {
            None => Err("expected NAME=value"),
            Some(value) => match std::str::from_utf8(value) {
                Err(_) => Err("its value is no UTF-8 text"),
                Ok(value) => unquoted(value.trim()),
            },
        };
        Some(Self {
            name,
            number,
            value,
        })
    }
}

/// A value as it is meant: `'…'` as it stands, `"…"` with `\"`, `\\`, `\$`, `\n`; after a space a
/// comment.
fn unquoted(text: &str) -> Result<String, &'static str> {
    let (mut value, mut quote) = (String::new(), None);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (_, '\0') => return Err("its value has a NUL"),
            (Some(open), closing) if open == closing => quote = None,
            (Some('\''), other) => value.push(other),
            (None, '\'' | '"') => quote = Some(letter),
            (_, '$') => return Err("`$` is not expanded here: put the value into single quotes"),
            (_, '\\') => match letters.next() {
                Some(escaped @ ('\\' | '\'' | '"' | '$' | ' ')) => value.push(escaped),
                Some('n') => value.push('\n'),
                _ => {
                    return Err(
                        "a backslash stands before none of \\ ' \" $ n: put the value into single quotes",
                    );
                }
            },
            (None, '#') if value.is_empty() => return Ok(value),
            (None, space) if space.is_whitespace() => {
                let rest = letters.as_str().trim_start();
                let comment = rest.is_empty() || rest.starts_with('#');
                return if comment {
                    Ok(value)
                } else {
                    Err("quote a value that holds spaces, and lead a comment by #")
                };
            }
            (_, other) => value.push(other),
        }
    }
    if quote.is_some() {
        Err("its quote is not closed on this line")
    } else {
        Ok(value)
    }
}
