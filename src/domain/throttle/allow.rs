//! The allow-list of a gate: which requests are never refused, and which rules of it can be used.
//!
//! Every rule holds while killed too, so only what every proxy and router reads alike is ever
//! matched. Knows no HTTP.

use serde::{Deserialize, Serialize};

/// Longest method, characters.
const METHOD_LIMIT: usize = 32;
/// Longest path, characters.
const PATH_LIMIT: usize = 1024;
/// Methods that change nothing and tell nothing: they may be let through on every path without a
/// word more.
const HARMLESS: [&str; 2] = ["OPTIONS", "HEAD"];

/// One route that a gate always lets through, because it reduces risk (refunds, for example).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowRule {
    /// HTTP method, upper case; any when absent.
    pub method: Option<String>,
    /// Path, matched whole or as a prefix that ends at a `/`; any when absent.
    pub path: Option<String>,
    /// The confirmation that a rule needs which lets everything through, a kill or not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub even_while_killed: bool,
}

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowFlaw {
    /// The field, as a manifest writes it; empty: the rule as a whole.
    pub field: &'static str,
    /// What was expected there.
    pub expected: String,
}

/// Whether every proxy, router and app reads this path alike: a path that may mean another one is
/// on no list, or `/refunds/../pay` would be let through as a refund.
///
/// It begins with `/`, has only characters that RFC 3986 gives a path, and of those no `%` (an
/// escape is read once, twice or not at all) and no `;` (some cut a segment there), no empty
/// segment and no `.` or `..`.
pub fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.starts_with('/')
        && path.bytes().all(|byte| {
            let pair = [std::mem::replace(&mut before, byte), byte];
            plain_byte(byte) && !matches!(&pair, b"//" | b"..")
        })
        && !path.ends_with("/.")
        && !path.contains("/./")
}

fn plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=:@".contains(&byte)
}

impl AllowRule {
    /// Whether a request of this method and path is on the list, which takes a path that
    /// [`is_plain`]. A rule without both matches nothing. Methods are compared as they were sent:
    /// `get` is none that an app would take for `GET`.
    pub fn matches(&self, method: &str, path: &str) -> bool {
        let method_fits = self.method.as_deref().is_none_or(|m| m == method);
        let path_fits = self.path.as_deref().is_none_or(|p| {
            path.strip_prefix(p)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || p.ends_with('/'))
        });
        (self.method.is_some() || self.path.is_some()) && method_fits && path_fits && is_plain(path)
    }

    /// What keeps this rule from being used, if anything does: it can match nothing, or lets
    /// everything through without saying that it shall.
    pub fn flaw(&self) -> Option<AllowFlaw> {
        let flaw = |field, expected: String| Some(AllowFlaw { field, expected });
        if self.method.is_none() && self.path.is_none() {
            return flaw("", "expected method or path".to_owned());
        }
        if let Some(expected) = self.method.as_deref().and_then(wrong_method) {
            return flaw("method", expected);
        }
        if let Some(expected) = self.path.as_deref().and_then(wrong_path) {
            return flaw("path", expected);
        }
        let wide = self.path.as_deref().is_none_or(|path| path == "/");
        let harmless = self
            .method
            .as_deref()
            .is_some_and(|method| HARMLESS.contains(&method));
        match (wide && !harmless, self.even_while_killed) {
            (true, false) => flaw(
                "",
                "this lets everything through, while killed too: expected the path that is meant, or evenWhileKilled: true \
                 to confirm it"
                    .to_owned(),
            ),
            (false, true) => flaw(
                "evenWhileKilled",
                "expected only beside path: /, or beside a method (but OPTIONS and HEAD) without a path; every other rule \
                 holds while killed without it"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// The rule in words, for whoever is told that it is not applied.
    pub fn words(&self) -> String {
        let method = self
            .method
            .iter()
            .map(|method| format!("method: {method:?}"));
        let path = self.path.iter().map(|path| format!("path: {path:?}"));
        format!("{{{}}}", method.chain(path).collect::<Vec<_>>().join(", "))
    }
}

fn wrong_method(method: &str) -> Option<String> {
    let upper = method.to_ascii_uppercase();
    match (is_method(method), is_method(&upper)) {
        (true, _) => None,
        (false, true) => Some(format!(
            "expected {upper}: methods are compared as clients send them, in upper case"
        )),
        (false, false) => Some(format!(
            "expected one method in 1 to {METHOD_LIMIT} upper-case letters, as GET"
        )),
    }
}

fn is_method(text: &str) -> bool {
    let fits = text
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
    (1..=METHOD_LIMIT).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && fits
}

fn wrong_path(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.chars().count() > PATH_LIMIT {
        return Some(format!(
            "expected 1 to {PATH_LIMIT} characters, beginning with /"
        ));
    }
    if is_plain(path) && !path.contains(['*', '(', ')']) && !path.contains("/:") {
        return None;
    }
    let usable = usable_part(path);
    let instead = if usable.is_empty() {
        String::new()
    } else {
        format!(", as {usable}, which covers what is below it")
    };
    Some(format!(
        "this can match nothing: expected a plain path{instead}; no patterns, no query, none of % ; \\ # and no . or .. or \
         empty segment"
    ))
}

/// What of a path comes before the segment that cannot be used.
fn usable_part(path: &str) -> &str {
    let fits = |segment: &str| {
        let bytes = segment
            .bytes()
            .all(|byte| plain_byte(byte) && !b"*()".contains(&byte));
        bytes
            && !segment.is_empty()
            && !segment.starts_with(':')
            && segment != "."
            && !segment.contains("..")
    };
    let whole: usize = path
        .split('/')
        .skip(1)
        .take_while(|segment| fits(segment))
        .map(|segment| segment.len() + 1)
        .sum();
    &path[..whole]
}
