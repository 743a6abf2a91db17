//! Where a route's path is written out: in its row, `src/http/routes/*`, and nowhere else in http
//! and telemetry. Whoever wants to know something of a route asks its row, by no path.
//!
//! A path is a text that begins with `/` and a name. Words for people that mention one in the midst
//! are none, and tests may ask for one.

use crate::reader::Source;

/// Modules that paths are kept out of, and the folder of the table.
const WITHOUT: &[&str] = &["http", "telemetry"];
const TABLE: &str = "src/http/routes/";

/// Texts that begin like a path and are none of ours.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "src/http/openapi.rs",
        "/components/",
        "a place in the description",
    ),
    ("src/telemetry/process.rs", "/proc/", "files of the kernel"),
];

/// Paths that are written out in one file where they may not.
pub(crate) fn written(path: &str, source: &Source) -> Vec<String> {
    if !WITHOUT.contains(&source.module.as_str()) || path.starts_with(TABLE) {
        return Vec::new();
    }
    let tests = source.line_of_tests();
    let paths = source.texts.iter().filter(|(line, text)| {
        *line < tests && is_path(text) && !allowed(path).any(|begins| text.starts_with(begins))
    });
    paths
        .map(|(line, text)| format!("{path}:{line}: path: {text} stands in a row of {TABLE} only"))
        .collect()
}

fn is_path(text: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphanumeric() || matches!(c, '{' | '.' | '_');
    text.strip_prefix('/')
        .is_some_and(|rest| rest.starts_with(begins))
}

fn allowed(path: &str) -> impl Iterator<Item = &'static str> {
    let of_this = ALLOWED.iter().filter(move |(file, ..)| *file == path);
    of_this.map(|(_, begins, _)| *begins)
}

/// An entry that allows what is not done any more would allow the next mistake.
#[test]
fn every_exception_is_in_use() {
    for (path, begins, _) in ALLOWED {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        assert!(
            text.contains(&format!("\"{begins}")),
            "{path} names nothing under {begins} any more: take it off the list"
        );
    }
}
