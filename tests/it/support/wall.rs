//! A wall clock that a test steps while a program runs under it; the monotonic clock stays true. By
//! libfaketime.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use super::prepared;

/// The wall clock of the programs that were started with its variables.
pub(crate) struct Wall {
    file: PathBuf,
    offset_s: AtomicI64,
}

impl Wall {
    /// One that is right so far; its file lies in this folder.
    pub(crate) fn new(folder: &Path) -> Self {
        let wall = Self {
            file: folder.join("wall-clock"),
            offset_s: AtomicI64::new(0),
        };
        wall.step(0);
        wall
    }

    /// Steps it by so many seconds; programs notice within a second.
    pub(crate) fn step(&self, seconds: i64) {
        let offset = self.offset_s.fetch_add(seconds, Ordering::SeqCst) + seconds;
        // A file that is read while it is written may be half of it.
        let part = self.file.with_extension("part");
        std::fs::write(&part, format!("{offset:+}\n")).unwrap();
        std::fs::rename(part, &self.file).unwrap();
    }

    /// What its programs take for now, seconds since 1970.
    pub(crate) fn now_s(&self) -> i64 {
        jiff::Timestamp::now().as_second() + self.offset_s.load(Ordering::SeqCst)
    }

    /// What a program needs to run under it.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let library = prepared("ECHO_TEST_TOOLS").join("lib/libfaketime.so");
        assert!(
            library.exists(),
            "{} is not there: run `make test`",
            library.display()
        );
        vec![
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_DONT_RESET", "1".to_owned()),
        ]
    }
}
