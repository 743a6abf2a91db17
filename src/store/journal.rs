//! The journal: where a kill becomes durable when the ledger cannot take it.
//!
//! One file of fixed size, written in place, so that neither a full disk nor the store's lock is in a kill's way.
//! Knows records and bytes; when to write one and what it means is the latch's.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::lock;
use crate::ports::{Effect, Journal, JournalEntry};

/// Size of the file: some 1,500 kills of 700 bytes, more than anybody takes while a ledger is away.
pub const JOURNAL_BYTES: usize = 1 << 20;

/// Length and checksum, both `u32`, little-endian.
const HEADER: usize = 8;

/// The journal in a file.
#[derive(Debug)]
pub struct FileJournal {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// Where the next record goes.
    end: usize,
    pending: Vec<JournalEntry>,
}

impl FileJournal {
    /// Opens a journal, or makes one, at its full size. Records that a crash tore are left out, and told of. One that can
    /// only be read still tells what is pending, and takes nothing until it can be written again.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = reopen(path)?;
        let mut bytes = Vec::with_capacity(JOURNAL_BYTES);
        file.read_to_end(&mut bytes)?;
        if bytes.len() < JOURNAL_BYTES {
            // Written, not only sized: a hole in the file would want disk space just when a kill comes.
            file.write_all(&vec![0; JOURNAL_BYTES - bytes.len()])?;
            file.sync_all()?;
            if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                File::open(dir)?.sync_all()?;
            }
        }
        let (pending, end) = scan(&bytes);
        Ok(Self { path: path.to_owned(), inner: Mutex::new(Inner { file, end, pending }) })
    }
}

fn reopen(path: &Path) -> io::Result<File> {
    let writable = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    writable.or_else(|error| if path.exists() { File::open(path) } else { Err(error) })
}

/// Every whole record from the start, and where they end.
fn scan(bytes: &[u8]) -> (Vec<JournalEntry>, usize) {
    let (mut entries, mut at) = (Vec::new(), 0);
    loop {
        match record(bytes.get(at..).unwrap_or_default()) {
            Found::End => return (entries, at),
            Found::Torn => {
                tracing::warn!(offset = at, records = entries.len(), "the journal ends in a torn record: left out");
                return (entries, at);
            }
            Found::Whole(entry, len) => {
                entries.push(*entry);
                at += len;
            }
        }
    }
}

enum Found {
    End,
    Torn,
    Whole(Box<JournalEntry>, usize),
}

/// The record at the start of these bytes.
fn record(bytes: &[u8]) -> Found {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return if bytes.iter().all(|b| *b == 0) { Found::End } else { Found::Torn };
    };
    let [l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    if *header == [0; HEADER] {
        return Found::End;
    }
    let payload = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok().and_then(|len| rest.get(..len));
    match payload {
        Some(payload) if !payload.is_empty() && crc32fast::hash(payload) == u32::from_le_bytes([c0, c1, c2, c3]) => {
            match serde_json::from_slice(payload) {
                Ok(entry) => Found::Whole(Box::new(entry), HEADER + payload.len()),
                Err(_) => Found::Torn,
            }
        }
        _ => Found::Torn,
    }
}

impl FileJournal {
    /// Writes; a file that could not be written is opened anew, since it may have become writable.
    fn write(&self, inner: &mut Inner, at: usize, bytes: &[u8]) -> io::Result<()> {
        if inner.write(at, bytes).is_ok() {
            return Ok(());
        }
        inner.file = reopen(&self.path)?;
        inner.write(at, bytes)
    }
}

impl Journal for FileJournal {
    fn append(&self, change: &JournalEntry) -> io::Result<()> {
        let payload = serde_json::to_vec(change).map_err(io::Error::other)?;
        let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut record = Vec::with_capacity(HEADER + payload.len());
        record.extend_from_slice(&len.to_le_bytes());
        record.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
        record.extend_from_slice(&payload);

        let mut inner = lock(&self.inner);
        let end = inner.end + record.len();
        // A record alone must not take the room that a kill may need: whoever repeats a command fills half of it at most.
        let room = if change.effect == Effect::Nothing { JOURNAL_BYTES / 2 } else { JOURNAL_BYTES };
        if end > room {
            let why =
                format!("the journal is full: {} of {JOURNAL_BYTES} bytes hold commands the ledger lacks", inner.end);
            return Err(io::Error::new(io::ErrorKind::StorageFull, why));
        }
        // `end` moves only after the sync: a record that failed half-way is overwritten by the next.
        let start = inner.end;
        self.write(&mut inner, start, &record)?;
        inner.end = end;
        inner.pending.push(change.clone());
        Ok(())
    }

    fn pending(&self) -> Vec<JournalEntry> {
        lock(&self.inner).pending.clone()
    }

    fn settle(&self, once: &str) -> io::Result<()> {
        let mut inner = lock(&self.inner);
        inner.pending.retain(|entry| entry.record.once != once);
        if inner.pending.is_empty() && inner.end > 0 {
            // All of it, not the first header alone: a later, equally long record would bring the second back.
            let used = vec![0; inner.end];
            self.write(&mut inner, 0, &used)?;
            inner.end = 0;
        }
        Ok(())
    }
}

impl Inner {
    fn write(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at as u64))?;
        self.file.write_all(bytes)?;
        self.file.sync_data()
    }
}
