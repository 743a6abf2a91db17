//! A body whose text is broken, as it can be read all the same: what is no UTF-8 and half of a pair become U+FFFD. Pure.
//!
//! For a kill alone: whoever stops is not sent away for the sake of a character.

use std::borrow::Cow;

/// The body with what no text can hold replaced.
pub fn lossy(body: &[u8]) -> Cow<'_, [u8]> {
    let text = String::from_utf8_lossy(body);
    match (unpaired(&text), text) {
        (Some(mended), _) => Cow::Owned(mended.into_bytes()),
        (None, Cow::Borrowed(_)) => Cow::Borrowed(body),
        (None, Cow::Owned(mended)) => Cow::Owned(mended.into_bytes()),
    }
}

/// The text with `\ud83d` and its like replaced where the other half is missing; nothing if none is.
fn unpaired(text: &str) -> Option<String> {
    let (mut out, mut rest, mut mended) = (String::with_capacity(text.len()), text, false);
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match unit(rest) {
            Some(0xd800..=0xdbff) if matches!(unit(&rest[6..]), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                out.push_str("\\ufffd");
                (rest, mended) = (&rest[6..], true);
                continue;
            }
            Some(_) => 6,
            // A backslash and what it escapes.
            None => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
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
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}
