//! No age is a difference of two times of the wall clock: it may be set in between. Ages are of
//! `Clock::elapsed`.
//!
//! Types are not known here, names are: what turns a `jiff::Timestamp` into a difference or a
//! number that can be one, and a minus beside a name by which such times go. The few places that
//! may are listed with what they are for.

/// What makes a difference, or a number, of a wall time.
const METHODS: &[&str] = &[
    "duration_since",
    "since",
    "until",
    "as_second",
    "as_millisecond",
    "as_microsecond",
    "as_nanosecond",
    "as_duration",
    "subsec_nanosecond",
];

/// Names by which wall times go; `at` also at the end of a longer one.
const NAMES: &[&str] = &[
    "now", "at", "wall", "since", "until", "moment", "created", "received", "began", "started",
];

/// Where wall times are counted, and for what.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "src/decide/clocks.rs",
        "duration_since",
        "whether the wall clock may be believed, before anything is pruned",
    ),
    (
        "src/mirror/retry.rs",
        "duration_since",
        "how far off the month's turn is",
    ),
    (
        "src/mirror/worker.rs",
        "as_second",
        "the month's turn, told",
    ),
    (
        "src/http/webhook.rs",
        "as_second",
        "the age of a signature, which another machine's clock made",
    ),
    ("src/gate.rs", "as_second", "the salt's hour"),
    (
        "src/cli/words.rs",
        "duration_since",
        "`2 h ago` beside a record's time, for a person",
    ),
    (
        "src/source/status_rows/conditions.rs",
        "as_second",
        "a record's time, told in whole seconds",
    ),
    (
        "src/source/stripe/event.rs",
        "as_second",
        "a record's time, as the provider told it",
    ),
    (
        "src/telemetry/metrics/scrape.rs",
        "as_duration",
        "when the process started, told",
    ),
    (
        "src/reconcile/memory.rs",
        "as_millisecond",
        "an id that sorts by time",
    ),
];

/// Differences of wall times in the code of one file, which has neither comments nor literals.
pub(crate) fn subtracted(path: &str, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let line_number = index + 1;
        for method in METHODS.iter().filter(|method| calls(line, method)) {
            if !ALLOWED
                .iter()
                .any(|(file, what, _)| (*file, *what) == (path, *method))
            {
                found.push(format!(
                    "{path}:{line_number}: moment: {method}() of a wall time; ages are of Clock::elapsed"
                ));
            }
        }
        for (at, _) in line
            .match_indices("- ")
            .filter(|(at, _)| is_minus(line, *at))
        {
            if let Some(name) = beside(line, at) {
                found
                    .push(format!("{path}:{line_number}: moment: a minus beside `{name}`; ages are of Clock::elapsed"));
            }
        }
    }
    found
}

/// Whether a method of this name is called, or named by its type.
fn calls(line: &str, method: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    [".", "Timestamp::"].iter().any(|before| {
        let name = format!("{before}{method}");
        line.match_indices(&name).any(|(at, _)| {
            let rest = &line[at + name.len()..];
            ends(rest) && (rest.starts_with('(') || *before == "Timestamp::")
        })
    })
}

/// A minus between two operands, as rustfmt writes it; `->` and a sign are none.
fn is_minus(line: &str, at: usize) -> bool {
    let before = &line[..at];
    before.ends_with(' ')
        && !before
            .trim_end()
            .ends_with(['(', '=', ',', '<', '>', '{', '|', '&'])
}

/// The operand beside a minus that goes by the name of a wall time: `now`, `self.clock.now()`,
/// `one.taken_at`.
fn beside(line: &str, at: usize) -> Option<String> {
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':');
    let left = line[..at].trim_end().trim_end_matches("()");
    let left = &left[left.rfind(|c| !is_path(c)).map_or(0, |i| i + 1)..];
    let right = line[at + 1..].trim_start();
    let right = &right[..right.find(|c| !is_path(c)).unwrap_or(right.len())];
    let last = |path: &str| {
        path.rsplit(['.', ':'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let is_time = |name: &String| NAMES.contains(&name.as_str()) || name.ends_with("_at");
    [last(left), last(right)].into_iter().find(is_time)
}

/// An entry that allows what is not done any more would allow the next mistake.
#[test]
fn every_exception_is_in_use() {
    for (path, method, _) in ALLOWED {
        let text =
            std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
        let text = text.unwrap_or_default();
        assert!(
            text.lines().any(|line| calls(line, method)),
            "{path} calls no {method}() any more: take it off the list"
        );
    }
}
