//! The journal against crashes: whatever byte the last write stopped at, the kills before it are there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use echo_phoenix::domain::audit::Record;
use echo_phoenix::domain::hold::{Bite, Epoch, Hold, Scope, ScopedHold, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::ports::{Effect, Journal, JournalEntry};
use echo_phoenix::store::{FileJournal, JOURNAL_BYTES};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::ledger_suite::values::record;

fn entry(epoch: &str) -> JournalEntry {
    let at = Timestamp::from_second(1_790_000_000).unwrap();
    let source = Source::Override {
        namespace: Some("shop".to_owned()),
        name: "stop".to_owned(),
        uid: "u-0".to_owned(),
        namespace_uid: None,
        definition_uid: Some("u-1".to_owned()),
    };
    let hold = Hold {
        epoch: Epoch(epoch.to_owned()),
        bite: Bite::AtLeast(Level::new(0.75).unwrap()),
        source,
        reason: "fraud \"wave\"\n".to_owned(),
        operator: "Zoë".to_owned(),
        taken_at: at,
    };
    let hold = ScopedHold { scope: Scope::One(ThrottleName::default_throttle()), hold };
    JournalEntry { effect: Effect::Hold(Box::new(hold)), record: Record { once: epoch.to_owned(), ..record("kill") } }
}

fn epochs(journal: &FileJournal) -> Vec<String> {
    journal.pending().into_iter().map(|entry| entry.record.once).collect()
}

fn home() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("kills.journal");
    (dir, path)
}

/// Length of the record at this place, header included.
fn record_len(bytes: &[u8], at: usize) -> usize {
    8 + u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let (_dir, path) = home();
    let journal = FileJournal::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), JOURNAL_BYTES as u64);
    journal.append(&entry("a")).unwrap();
    journal.append(&entry("b")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), JOURNAL_BYTES as u64, "it never grows");
    // Not dropped in an orderly way: what counts is on the disk.
    std::mem::forget(journal);
    assert_eq!(FileJournal::open(&path).unwrap().pending(), [entry("a"), entry("b")]);
}

#[test]
fn the_space_is_really_taken_at_start() {
    use std::os::unix::fs::MetadataExt;
    let (_dir, path) = home();
    let _journal = FileJournal::open(&path).unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() * 512 >= JOURNAL_BYTES as u64, "the file has holes");
}

#[test]
fn a_settled_kill_is_pending_no_more_and_an_empty_journal_starts_over() {
    let (_dir, path) = home();
    let journal = FileJournal::open(&path).unwrap();
    for name in ["a", "b", "c"] {
        journal.append(&entry(name)).unwrap();
    }
    journal.settle("b").unwrap();
    journal.settle("unknown").unwrap();
    assert_eq!(epochs(&journal), ["a", "c"]);
    journal.settle("a").unwrap();
    journal.settle("c").unwrap();
    assert_eq!(FileJournal::open(&path).unwrap().pending(), []);
    // A record as long as the first must not bring the second and third back.
    journal.append(&entry("d")).unwrap();
    drop(journal);
    assert_eq!(epochs(&FileJournal::open(&path).unwrap()), ["d"]);
}

#[test]
fn a_full_journal_says_so_and_keeps_what_it_has() {
    let (_dir, path) = home();
    let journal = FileJournal::open(&path).unwrap();
    let mut big = entry("big");
    big.record.audit.reason = "x".repeat(JOURNAL_BYTES / 4);
    for _ in 0..3 {
        journal.append(&big).unwrap();
    }
    let error = journal.append(&big).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.to_string().contains("journal is full"), "{error}");
    journal.append(&entry("small")).expect("a smaller one still fits");
    drop(journal);
    let journal = FileJournal::open(&path).unwrap();
    assert_eq!(journal.pending().len(), 4);
    journal.settle("big").unwrap();
    journal.settle("small").unwrap();
    journal.append(&big).expect("room again");
}

/// Applies a damage for each byte of the last of three records; the two before must come through each time, and a
/// kill taken after the crash must be kept too.
fn each_byte_of_the_last_record(damage: impl Fn(&Path, &[u8], usize)) {
    let (_dir, path) = home();
    let journal = FileJournal::open(&path).unwrap();
    for name in ["a", "b", "c"] {
        journal.append(&entry(name)).unwrap();
    }
    drop(journal);
    let whole = fs::read(&path).unwrap();
    let second = record_len(&whole, 0);
    let third = second + record_len(&whole, second);
    let end = third + record_len(&whole, third);
    assert!(whole[end..].iter().all(|b| *b == 0));
    // The whole file is written once; each turn restores only the part in use.
    for at in third..end {
        damage(&path, &whole[..end], at);
        let journal = FileJournal::open(&path).unwrap();
        assert_eq!(journal.pending(), [entry("a"), entry("b")], "byte {at}");
        if at % 16 == 0 {
            journal.append(&entry("d")).unwrap();
            drop(journal);
            assert_eq!(epochs(&FileJournal::open(&path).unwrap()), ["a", "b", "d"], "byte {at}");
        }
    }
}

fn overwrite(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    // Whatever an earlier turn appended behind.
    file.write_all_at(&[0; 1024], bytes.len() as u64).unwrap();
}

#[test]
fn a_write_that_stopped_at_any_byte_costs_only_itself() {
    each_byte_of_the_last_record(|path, whole, at| {
        let mut torn = whole.to_vec();
        torn[at..].fill(0);
        overwrite(path, &torn);
    });
}

#[test]
fn a_file_cut_at_any_byte_costs_only_the_record_that_was_cut() {
    each_byte_of_the_last_record(|path, whole, at| fs::write(path, &whole[..at]).unwrap());
}

#[test]
fn a_flipped_bit_at_any_byte_costs_only_that_record() {
    each_byte_of_the_last_record(|path, whole, at| {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 0x40;
        overwrite(path, &flipped);
    });
}

#[test]
fn a_file_that_is_no_journal_has_no_kills() {
    let (_dir, path) = home();
    fs::write(&path, vec![0xff; JOURNAL_BYTES]).unwrap();
    let journal = FileJournal::open(&path).unwrap();
    assert_eq!(journal.pending(), []);
    journal.append(&entry("a")).unwrap();
    drop(journal);
    assert_eq!(epochs(&FileJournal::open(&path).unwrap()), ["a"]);
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_at_start() {
    let dir = TempDir::new().unwrap();
    assert!(FileJournal::open(&dir.path().join("missing/kills.journal")).is_err());
}

#[test]
fn concurrent_kills_are_all_kept() {
    let (_dir, path) = home();
    let journal = FileJournal::open(&path).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let journal = &journal;
            scope.spawn(move || (0..10).for_each(|i| journal.append(&entry(&format!("{thread}-{i}"))).unwrap()));
        }
    });
    drop(journal);
    let mut found = epochs(&FileJournal::open(&path).unwrap());
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 80);
}
