//! The journal against crashes: whatever byte the last write stopped at, the kills before it are
//! there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use echo_phoenix::domain::audit::{Change, CommandRecord};
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::ports::{Effect, Journal, JournalEntry, Ledger, LedgerError};
use echo_phoenix::store::{
    AtStart, FileJournal, JOURNAL_BYTES, JournalFile, JournalFound, LEDGER_FILE, SqliteFolder,
    SqliteLedger, StandbyLedger, settle_had,
};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::ledger_suite::values::{client_key, record};

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
        bite: HoldEffect::AtLeast(Level::new(0.75).unwrap()),
        source,
        reason: "fraud \"wave\"\n".to_owned(),
        operator: "Zoë".to_owned(),
        taken_at: at,
    };
    let hold = ScopedHold {
        scope: Scope::One(ThrottleName::default_throttle()),
        hold,
    };
    JournalEntry {
        effect: Effect::Hold(Box::new(hold)),
        record: CommandRecord {
            once: epoch.to_owned(),
            ..record("kill")
        },
    }
}

fn epochs(pending: &[JournalEntry]) -> Vec<String> {
    pending
        .iter()
        .map(|entry| entry.record.once.clone())
        .collect()
}

/// Waits for it on this thread.
fn waited<T>(asked: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(asked)
}

fn append(journal: &FileJournal, entry: &JournalEntry) -> std::io::Result<()> {
    waited(journal.append(entry))
}

fn settle(journal: &FileJournal, once: &str) -> std::io::Result<()> {
    waited(journal.settle(once))
}

fn home() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("kills.journal");
    (dir, path)
}

/// What the file is found to be.
fn found(path: &Path) -> JournalFound {
    JournalFile::read(path).unwrap().1
}

/// Sectors in which anything stands, but for the first.
fn used(bytes: &[u8]) -> usize {
    bytes
        .chunks(512)
        .rposition(|sector| sector.iter().any(|b| *b != 0))
        .unwrap()
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let (_dir, path) = home();
    let journal = FileJournal::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), JOURNAL_BYTES as u64);
    append(&journal, &entry("a")).unwrap();
    append(&journal, &entry("b")).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().len(),
        JOURNAL_BYTES as u64,
        "it never grows"
    );
    // Not dropped in an orderly way: what counts is on the disk.
    std::mem::forget(journal);
    assert_eq!(
        FileJournal::open(&path).unwrap().pending(),
        [entry("a"), entry("b")]
    );
}

#[test]
fn the_space_is_really_taken_at_start() {
    use std::os::unix::fs::MetadataExt;
    let (_dir, path) = home();
    let _journal = FileJournal::open(&path).unwrap();
    assert!(
        fs::metadata(&path).unwrap().blocks() * 512 >= JOURNAL_BYTES as u64,
        "the file has holes"
    );
}

#[test]
fn a_settled_kill_is_pending_no_more_and_an_empty_journal_starts_over() {
    let (_dir, path) = home();
    let journal = FileJournal::open(&path).unwrap();
    for name in ["a", "b", "c"] {
        append(&journal, &entry(name)).unwrap();
    }
    settle(&journal, "b").unwrap();
    settle(&journal, "unknown").unwrap();
    assert_eq!(epochs(&journal.pending()), ["a", "c"]);
    settle(&journal, "a").unwrap();
    settle(&journal, "c").unwrap();
    assert_eq!(FileJournal::open(&path).unwrap().pending(), []);
    // A record as long as the first must not bring the second and third back.
    append(&journal, &entry("d")).unwrap();
    drop(journal);
    assert_eq!(epochs(&FileJournal::open(&path).unwrap().pending()), ["d"]);
}

#[test]
fn a_full_journal_says_so_and_keeps_what_it_has() {
    let (_dir, path) = home();
    let journal = FileJournal::open(&path).unwrap();
    let big = |name: &str| {
        let mut big = entry(name);
        big.record.audit.reason = "x".repeat(JOURNAL_BYTES / 4);
        big
    };
    for name in ["a", "b", "c"] {
        append(&journal, &big(name)).unwrap();
    }
    let error = append(&journal, &big("d")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.to_string().contains("journal is full"), "{error}");
    append(&journal, &entry("small")).expect("a smaller one still fits");
    drop(journal);
    let journal = FileJournal::open(&path).unwrap();
    assert_eq!(journal.pending().len(), 4);
    for name in ["a", "b", "c", "small"] {
        settle(&journal, name).unwrap();
    }
    append(&journal, &big("d")).expect("room again");
}

/// A journal of three records that fill more than a sector each, and its bytes; the last one begins
/// at the sector given.
fn three(path: &Path) -> (Vec<u8>, usize) {
    let (bytes, third, _) = three_and_two(path);
    (bytes, third)
}

/// The same, and the head that counts two of them: that of the third is written once its record is
/// on the disk.
fn three_and_two(path: &Path) -> (Vec<u8>, usize, Vec<u8>) {
    let journal = FileJournal::open(path).unwrap();
    for name in ["a", "b"] {
        append(&journal, &entry(name)).unwrap();
    }
    let two = fs::read(path).unwrap();
    let third = used(&two) + 1;
    append(&journal, &entry("c")).unwrap();
    (fs::read(path).unwrap(), third, two[..512].to_vec())
}

#[test]
fn a_write_that_stopped_at_any_byte_costs_only_itself() {
    let (_dir, path) = home();
    let (mut whole, third, head) = three_and_two(&path);
    whole[..512].copy_from_slice(&head);
    let last = used(&whole);
    assert!(last > third, "a record is longer than a sector");
    for at in (third * 512..(last + 1) * 512).step_by(16) {
        let mut torn = whole.clone();
        torn[at..].fill(0);
        if torn == whole {
            break; // what is left of the last sector is zeros
        }
        fs::write(&path, &torn).unwrap();
        let (journal, found) = JournalFile::read(&path).unwrap();
        assert_eq!(journal.pending(), [entry("a"), entry("b")], "byte {at}");
        // A disk writes a sector whole or not at all: what stops between two of them raises no
        // alarm.
        if at % 512 != 0 {
            continue;
        }
        assert_eq!(found, JournalFound::Whole, "byte {at}");
        append(&FileJournal::start(journal).unwrap(), &entry("d")).unwrap();
        let (journal, found) = JournalFile::read(&path).unwrap();
        assert_eq!(
            (found, epochs(&journal.pending())),
            (
                JournalFound::Whole,
                ["a", "b", "d"].map(str::to_owned).into()
            )
        );
    }
}

#[test]
fn whatever_bit_is_flipped_the_other_records_are_read_and_it_is_told() {
    let (_dir, path) = home();
    let (whole, third) = three(&path);
    let of = |at: usize| {
        if at / 512 == 0 {
            None
        } else {
            Some((at / 512).min(used(&whole) + 1))
        }
    };
    let second = third.div_ceil(2);
    for at in (0..whole.len()).filter(|at| *at < (third + 4) * 512 || at % 4099 == 0) {
        if at % 7 != 0 && at >= 512 {
            continue; // every byte of the head, and every seventh of what follows
        }
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        let (journal, found) = JournalFile::read(&path).unwrap();
        assert!(
            matches!(found, JournalFound::Damaged(_)),
            "byte {at}: {found:?}"
        );
        let hit = of(at).map_or("", |sector| match sector {
            sector if sector < second => "a",
            sector if sector < third => "b",
            sector if sector <= used(&whole) => "c",
            _ => "",
        });
        let kept: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .filter(|name| *name != hit)
            .map(str::to_owned)
            .collect();
        assert_eq!(epochs(&journal.pending()), kept, "byte {at}");
    }
}

#[test]
fn a_file_cut_or_zeroed_anywhere_is_damaged() {
    let (_dir, path) = home();
    let (whole, third) = three(&path);
    for len in [0, 1, 511, 512, 700, third * 512, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(
            matches!(found(&path), JournalFound::Damaged(_)),
            "cut to {len}"
        );
    }
    for from in [0, 512] {
        let mut zeroed = whole.clone();
        zeroed[from..(from + 1024).max(from + 512 * (used(&whole) + 1 - third))].fill(0);
        fs::write(&path, &zeroed).unwrap();
        assert!(
            matches!(found(&path), JournalFound::Damaged(_)),
            "zeroed from {from}"
        );
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(found(&path), JournalFound::Missing);
}

#[test]
fn a_record_that_is_counted_and_gone_is_damage() {
    let (_dir, path) = home();
    let (whole, third) = three(&path);
    for from in (third..=used(&whole)).map(|sector| sector * 512) {
        let mut bytes = whole.clone();
        bytes[from..].fill(0);
        fs::write(&path, &bytes).unwrap();
        let (journal, found) = JournalFile::read(&path).unwrap();
        assert!(
            matches!(found, JournalFound::Damaged(_)),
            "from {from}: {found:?}"
        );
        assert_eq!(epochs(&journal.pending()), ["a", "b"]);
    }

    // Alone in its journal, too.
    let (_dir, path) = home();
    append(&FileJournal::open(&path).unwrap(), &entry("a")).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[512..].fill(0);
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(found(&path), JournalFound::Damaged(_)));
}

#[test]
fn a_damaged_journal_is_mended_with_what_is_whole_and_the_old_one_is_kept() {
    let (dir, path) = home();
    let (mut bytes, third) = three(&path);
    let ever = JournalFile::read(&path).unwrap().0.ever();
    bytes[(third - 1) * 512 + 40] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let journal = FileJournal::open(&path).unwrap();
    assert_eq!(epochs(&journal.pending()), ["a", "c"]);
    append(&journal, &entry("d")).unwrap();
    assert!(journal.ever() > ever, "it never counts back");
    let (again, found) = JournalFile::read(&path).unwrap();
    assert_eq!(
        (found, epochs(&again.pending())),
        (
            JournalFound::Whole,
            ["a", "c", "d"].map(str::to_owned).into()
        )
    );
    assert_eq!(
        fs::read(dir.path().join("kills.journal.damaged")).unwrap(),
        bytes
    );
}

#[test]
fn an_older_journal_counts_fewer_records() {
    let (_dir, path) = home();
    let journal = FileJournal::open(&path).unwrap();
    append(&journal, &entry("a")).unwrap();
    settle(&journal, "a").unwrap();
    let older = fs::read(&path).unwrap();
    append(&journal, &entry("b")).unwrap();
    let ever = journal.ever();
    drop(journal);
    fs::write(&path, older).unwrap();
    let (mut journal, found) = JournalFile::read(&path).unwrap();
    assert_eq!((found, journal.ever() < ever), (JournalFound::Whole, true));
    journal.mend(ever, false).unwrap();
    assert!(journal.ever() >= ever);
}

#[test]
fn a_journal_of_the_release_before_is_read_and_rewritten() {
    let (_dir, path) = home();
    let mut old = Vec::new();
    for name in ["a", "b"] {
        let content = serde_json::to_vec(&entry(name)).unwrap();
        old.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        old.extend(crc32fast::hash(&content).to_le_bytes());
        old.extend(content);
    }
    let end = old.len();
    old.resize(JOURNAL_BYTES, 0);
    fs::write(&path, &old).unwrap();
    let (mut journal, found) = JournalFile::read(&path).unwrap();
    assert_eq!(
        (found, epochs(&journal.pending())),
        (JournalFound::Headless, ["a", "b"].map(str::to_owned).into())
    );
    assert_eq!(fs::read(&path).unwrap(), old, "reading touches nothing");
    journal.mend(0, false).unwrap();
    let (journal, found) = JournalFile::read(&path).unwrap();
    assert_eq!(
        (found, epochs(&journal.pending())),
        (JournalFound::Whole, ["a", "b"].map(str::to_owned).into())
    );

    // What could not be mended at a start is mended by the first that is appended.
    fs::write(&path, &old).unwrap();
    let (journal, _) = JournalFile::read(&path).unwrap();
    append(&FileJournal::start(journal).unwrap(), &entry("c")).unwrap();
    let (journal, found) = JournalFile::read(&path).unwrap();
    assert_eq!(
        (found, epochs(&journal.pending())),
        (
            JournalFound::Whole,
            ["a", "b", "c"].map(str::to_owned).into()
        )
    );

    let mut torn = old.clone();
    torn[end - 3..].fill(0);
    fs::write(&path, &torn).unwrap();
    assert_eq!(self::found(&path), JournalFound::Headless);
    let mut flipped = old;
    flipped[40] ^= 1;
    fs::write(&path, &flipped).unwrap();
    assert!(matches!(self::found(&path), JournalFound::Damaged(_)));
    assert_eq!(
        self::found(&path),
        self::found(&path),
        "reading touches nothing"
    );
}

#[test]
fn a_file_that_is_no_journal_has_no_kills_and_is_told() {
    let (_dir, path) = home();
    fs::write(&path, vec![0xff; JOURNAL_BYTES]).unwrap();
    assert!(matches!(found(&path), JournalFound::Damaged(_)));
    let journal = FileJournal::open(&path).unwrap();
    assert_eq!(journal.pending(), []);
    append(&journal, &entry("a")).unwrap();
    drop(journal);
    assert_eq!(epochs(&FileJournal::open(&path).unwrap().pending()), ["a"]);
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
            scope.spawn(move || {
                (0..10).for_each(|i| append(journal, &entry(&format!("{thread}-{i}"))).unwrap())
            });
        }
    });
    drop(journal);
    let mut found = epochs(&FileJournal::open(&path).unwrap().pending());
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 80);
}

/// A full disk as a process starts: what the ledger has it can say all the same, answers to keys
/// too.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_can_be_read_only_says_what_it_has_of_a_journal() {
    let (dir, path) = home();
    let journal = FileJournal::open(&path).unwrap();
    journal.append(&entry("had")).await.unwrap();
    journal.append(&entry("lacked")).await.unwrap();
    tokio::task::spawn_blocking(move || journal.close())
        .await
        .unwrap();
    let (ledger, _) = SqliteLedger::open(dir.path()).unwrap();
    ledger
        .commit(Change::of(entry("had").record))
        .await
        .unwrap();
    let mut keyed = entry("keyed").record;
    keyed.answer.key = Some(client_key("k", 1000));
    let kept = ledger.commit(Change::of(keyed)).await.unwrap().answer;
    drop(ledger);
    let other = rusqlite::Connection::open(dir.path().join(LEDGER_FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (ledger, found) =
        StandbyLedger::start(SqliteFolder::new(dir.path()), Timestamp::UNIX_EPOCH, false)
            .await
            .unwrap();
    assert!(matches!(found, AtStart::ReadOnly(..)), "{found:?}");
    assert!(matches!(
        ledger.check().await,
        Err(LedgerError::Unavailable(_))
    ));
    assert_eq!(
        (
            ledger.has("had").await.unwrap(),
            ledger.has("lacked").await.unwrap()
        ),
        (true, false)
    );
    let answered = ledger.answered(&client_key("k", 1000)).await.unwrap();
    assert!(answered.is_some() && answered == kept, "{answered:?}");

    let journal = FileJournal::open(&path).unwrap();
    settle_had(&journal, &BTreeSet::new(), &ledger).await;
    assert_eq!(epochs(&journal.pending()), ["lacked"]);
}
