//! Where files are touched. A system call on a disk that hangs cannot be broken off, so nobody who
//! serves makes one: it is made before there is anybody to serve, by a command of its own, or on a
//! thread that nobody's answer runs on.
//!
//! Types are not known here, names are: what opens, reads, syncs or asks about a file goes by one
//! of a few.

/// What touches a file.
const NAMES: &[&str] = &[
    "std::fs",
    "tokio::fs",
    "rustix::fs",
    "File::",
    "OpenOptions",
    "DirBuilder",
    "Connection::open",
    "Connection::open_with_flags",
    "sync_all",
    "sync_data",
    ".exists()",
    ".try_exists()",
    ".is_file()",
    ".is_dir()",
    ".metadata()",
    ".symlink_metadata()",
    ".canonicalize()",
    ".read_dir()",
    ".read_link()",
];

/// Where that may stand, and why nobody who serves waits there.
const PLACES: &[(&str, &str)] = &[
    ("src/cli.rs", "the mask for modes of files, before any task"),
    ("src/cli/ledger.rs", "a command of its own"),
    (
        "src/cluster/connect.rs",
        "whether there is a kubeconfig: at the start",
    ),
    ("src/config/dotenv.rs", "at the start, before any task"),
    (
        "src/config/files.rs",
        "a thread of its own for each read, abandoned if it hangs; waited for at the start or in a blocking task",
    ),
    ("src/run/kept.rs", "keys and ids, at the start"),
    ("src/run/local_key.rs", "the folder's owner, at the start"),
    (
        "src/run/record/folder.rs",
        "the folder and its lock, at the start",
    ),
    (
        "src/server/cgroup.rs",
        "/proc and /sys, which are in memory, at the start",
    ),
    (
        "src/store/journal/file.rs",
        "the start, then the journal's thread",
    ),
    (
        "src/store/journal/file/image.rs",
        "the start, then the journal's thread",
    ),
    ("src/store/last_state.rs", "the start, then a blocking task"),
    (
        "src/store/looks.rs",
        "for `verify` and `backup`, each a command of its own",
    ),
    (
        "src/store/private.rs",
        "the start, and the ledger's opening in a blocking task",
    ),
    ("src/store/sqlite/backup.rs", "a command of its own"),
    (
        "src/store/sqlite/index.rs",
        "asked by the readers in blocking tasks, by the writer on a thread of its own, and at the end",
    ),
    (
        "src/store/sqlite/opening.rs",
        "the ledger's opening in a blocking task, and commands of their own",
    ),
    (
        "src/store/sqlite/read.rs",
        "a ledger that can only be read: at the start, and commands of their own",
    ),
    ("src/telemetry.rs", "stderr, written by a thread of its own"),
    ("src/telemetry/process.rs", "/proc, which is in memory"),
];

/// What touches files in the code of one file, which has neither comments nor literals.
pub(crate) fn touched(path: &str, code: &str) -> Vec<String> {
    if PLACES.iter().any(|(place, _)| *place == path) {
        return Vec::new();
    }
    let lines = code
        .lines()
        .take_while(|line| !line.contains("#[cfg(test)]"))
        .enumerate();
    let named = |(index, line)| Some((index + 1, NAMES.iter().find(|name| names(line, name))?));
    lines
        .filter_map(named)
        .map(|(line, name)| {
            format!("{path}:{line}: disk: {name} where somebody who serves might wait for it")
        })
        .collect()
}

/// Whether a line has this name as a whole one.
fn names(line: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        let begins = !name.starts_with(is_word) || !line[..at].ends_with(is_word);
        let ends = !name.ends_with(is_word) || !line[at + name.len()..].starts_with(is_word);
        begins && ends
    })
}

/// A place that touches nothing any more would be open to the next that does.
#[test]
fn every_place_touches_a_file() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, _) in PLACES {
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let touches = text
            .lines()
            .any(|line| NAMES.iter().any(|name| names(line, name)));
        assert!(
            touches,
            "{path} touches no file any more: take it off the list"
        );
    }
}
