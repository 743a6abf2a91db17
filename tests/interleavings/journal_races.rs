//! The journal: those who append and settle, the thread that writes, and whoever looks at what is
//! pending.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures::join;
use shuttle::future::block_on;
use shuttle::thread;
use tempfile::TempDir;

use crate::commands::record;
use crate::ports::{Effect, Journal, JournalEntry};
use crate::store::journal::{FileJournal, JournalFile, JournalFound};
use crate::tries::tried;

/// The file of a test's journal; every order begins with a new one.
pub(crate) struct Disk {
    folder: TempDir,
    /// What a new file is.
    new: Vec<u8>,
}

impl Disk {
    pub(crate) fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let made = path.clone();
        let make = move || JournalFile::read(&made).unwrap().0.mend(0, false).unwrap();
        // Its locks are shuttle's as well; there is one order of one thread.
        shuttle::check_dfs(make, None);
        Arc::new(Self {
            new: std::fs::read(&path).unwrap(),
            folder,
        })
    }

    pub(crate) fn journal(&self) -> Arc<FileJournal> {
        let path = self.folder.path().join("journal");
        std::fs::write(&path, &self.new).unwrap();
        let (file, _) = JournalFile::read(&path).unwrap();
        Arc::new(FileJournal::start(file.synced_by(|_| Ok(()))).unwrap())
    }

    /// What a start would find, of these ids.
    fn found(&self) -> (JournalFound, Vec<String>) {
        let (file, found) = JournalFile::read(&self.folder.path().join("journal")).unwrap();
        (found, ids(&file.pending()))
    }
}

fn ids(pending: &[JournalEntry]) -> Vec<String> {
    pending
        .iter()
        .map(|entry| entry.record.once.clone())
        .collect()
}

fn entry(once: &str) -> JournalEntry {
    JournalEntry {
        effect: Effect::Nothing,
        record: record(once, "kill"),
    }
}

#[test]
fn what_was_acknowledged_and_not_settled_is_pending_at_any_moment() {
    let disk = Disk::new();
    tried(1_200, move || {
        let journal = disk.journal();
        let kept = Arc::new(Mutex::new(BTreeSet::new()));
        let threads = ["a", "b", "c"].map(|once| {
            let (journal, kept) = (Arc::clone(&journal), Arc::clone(&kept));
            thread::spawn(move || {
                block_on(journal.append(&entry(once))).unwrap();
                kept.lock().unwrap().insert(once.to_owned());
                if once == "b" {
                    return;
                }
                kept.lock().unwrap().remove(once);
                block_on(journal.settle(once)).unwrap();
                assert!(
                    !ids(&journal.pending()).contains(&once.to_owned()),
                    "{once} is settled"
                );
            })
        });
        for _ in 0..3 {
            let before = kept.lock().unwrap().clone();
            let pending = ids(&journal.pending());
            let after = kept.lock().unwrap().clone();
            let missing = before
                .intersection(&after)
                .find(|once| !pending.contains(once));
            assert!(
                missing.is_none(),
                "{missing:?} of {before:?} is not in {pending:?}"
            );
        }
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(ids(&journal.pending()), ["b"]);
        journal.close();
        let (found, pending) = disk.found();
        assert!(
            found == JournalFound::Whole && pending.contains(&"b".to_owned()),
            "{found:?} {pending:?}"
        );
    });
}

/// Whoever is quicker at the ledger settles what is still on its way to the disk.
#[test]
fn what_is_settled_while_it_is_written_is_not_pending_afterwards() {
    let disk = Disk::new();
    tried(1_200, move || {
        let journal = disk.journal();
        let threads = ["a", "b"].map(|once| {
            let journal = Arc::clone(&journal);
            thread::spawn(move || {
                let entry = entry(once);
                let (appended, settled) =
                    block_on(async { join!(journal.append(&entry), journal.settle(once)) });
                appended.unwrap();
                settled.unwrap();
            })
        });
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(ids(&journal.pending()), Vec::<String>::new());
        journal.close();
        assert_eq!(disk.found(), (JournalFound::Whole, Vec::new()));
    });
}

#[test]
fn whatever_a_journal_took_before_it_closes_is_in_the_file_and_nothing_else() {
    let disk = Disk::new();
    tried(1_200, move || {
        let journal = disk.journal();
        let threads = ["a", "b"].map(|once| {
            let journal = Arc::clone(&journal);
            thread::spawn(move || {
                block_on(journal.append(&entry(once)))
                    .is_ok()
                    .then(|| once.to_owned())
            })
        });
        journal.close();
        let took: BTreeSet<_> = threads
            .into_iter()
            .filter_map(|thread| thread.join().unwrap())
            .collect();
        let (found, pending) = disk.found();
        assert_eq!(
            (found, pending.iter().cloned().collect()),
            (JournalFound::Whole, took)
        );
        assert_eq!(ids(&journal.pending()), pending);
    });
}
