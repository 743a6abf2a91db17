//! A body whose text is broken, as it can be read all the same: what is no UTF-8 and half of a pair
//! become U+FFFD, a line end or another control within a text, and a backslash that escapes
//! nothing, are taken as if they were escaped, a byte order mark is left out. Pure.
//!
//! For a kill alone: whoever stops is not sent away for the sake of a character.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The body with what no text can hold replaced.
pub fn lossy(body: &[u8]) -> Cow<'_, [u8]> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = String::from_utf8_lossy(body);
    match (mended(&text), text) {
        (Some(mended), _) => Cow::Owned(mended.into_bytes()),
        (None, Cow::Borrowed(_)) => Cow::Borrowed(body),
        (None, Cow::Owned(mended)) => Cow::Owned(mended.into_bytes()),
    }
}

/// The text with `\ud83d` and its like replaced where the other half is missing, and with controls
/// in its texts escaped; nothing if there is none of it.
fn mended(text: &str) -> Option<String> {
    let (mut out, mut rest, mut mended, mut quoted) =
        (String::with_capacity(text.len()), text, false, false);
    while let Some(at) = rest.find(|c| c == '\\' || c == '"' || (quoted && c < ' ')) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match rest.as_bytes()[0] {
            b'"' => {
                quoted = !quoted;
                1
            }
            b'\\' => match unit(rest) {
                Some(0xd800..=0xdbff) if matches!(unit(&rest[6..]), Some(0xdc00..=0xdfff)) => 12,
                Some(0xd800..=0xdfff) => {
                    out.push_str("\\ufffd");
                    (rest, mended) = (&rest[6..], true);
                    continue;
                }
                Some(_) => 6,
                None if rest[1..].starts_with(['"', '\\', '/', 'b', 'f', 'n', 'r', 't']) => 2,
                // It escapes nothing, as in `C:\pay`: it is what was meant.
                None => {
                    out.push('\\');
                    mended = true;
                    1
                }
            },
            control => {
                let _ = write!(out, "\\u{control:04x}"); // a String takes everything
                (rest, mended) = (&rest[1..], true);
                continue;
            }
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out.push_str(rest);
    mended.then_some(out)
}

/// The number of the `\uXXXX` that a text begins with.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits
        .bytes()
        .all(|b| b.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten()
}
