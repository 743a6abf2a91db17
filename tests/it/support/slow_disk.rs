//! A disk that a test stalls while a program runs on it: syncs of chosen files take as long as the
//! test says, or fail.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// The disk of the programs that were started with its variables.
pub(crate) struct SlowDisk(PathBuf);

impl SlowDisk {
    /// One that stalls nothing so far; its file lies in this folder.
    pub(crate) fn new(folder: &Path) -> Self {
        let disk = Self(folder.join("slow-disk"));
        disk.flow();
        disk
    }

    /// Each sync of a file whose path has one of these parts takes so long, from the next one on.
    pub(crate) fn stall(&self, parts: &[&str], delay: Duration) {
        let line = |part: &&str| format!("{part} {}\n", delay.as_millis());
        self.ask(&parts.iter().map(line).collect::<String>());
    }

    /// Each sync of a file whose path has one of these parts fails; what was written is in the file
    /// all the same.
    pub(crate) fn fail(&self, parts: &[&str]) {
        self.ask(
            &parts
                .iter()
                .map(|part| format!("{part} -1\n"))
                .collect::<String>(),
        );
    }

    /// No sync waits or fails any more, those that have begun to included.
    pub(crate) fn flow(&self) {
        self.ask("");
    }

    fn ask(&self, text: &str) {
        // A file that is read while it is written may be half of it.
        let part = self.0.with_extension("part");
        std::fs::write(&part, text).unwrap();
        std::fs::rename(part, &self.0).unwrap();
    }

    /// What a program needs to run on it.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", library().display().to_string()),
            ("SLOW_DISK", self.0.display().to_string()),
        ]
    }
}

/// The library, made once; needs the C compiler that builds the program too.
fn library() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/slow_disk.c");
        let (part, whole) = (
            folder.join(format!("slow_disk.{}.so", std::process::id())),
            folder.join("slow_disk.so"),
        );
        let mut compile = Command::new("cc");
        compile
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
            .arg(&part)
            .arg(source)
            .arg("-ldl");
        super::run(&mut compile);
        // Another run may be loading the one there is.
        std::fs::rename(part, &whole).unwrap();
        whole
    })
}
