//! The journal's file: of fixed size, written in place, so that neither a full disk nor the store's
//! lock is in a kill's way.
//!
//! Blocks for as long as a disk does. Whose it is, writes it: the start, then the journal's thread.

mod image;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::sector::{JournalHeader, SECTOR};
use super::{Shown, headless, sector};
use crate::ports::{Effect, JournalEntry};
use crate::sync::atomic::Ordering;
use image::Image;

/// Size of the file: some 1,000 kills of 700 bytes, more than anybody takes while a ledger is away.
pub const JOURNAL_BYTES: usize = 1 << 20;

/// What a journal was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalFound {
    /// There was none.
    Missing,
    /// As it was written; the write that a crash broke off is nothing that anybody relies on.
    Whole,
    /// As a release up to 2.4.0 wrote it.
    Headless,
    /// Something of it is gone or was changed, and this is what. What is still whole of it was
    /// read.
    Damaged(String),
}

/// An entry with what is written of it.
pub(super) type Written = (Box<JournalEntry>, Vec<u8>);

/// The file of a journal.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    shown: Arc<Shown>,
    /// None until it is of today's form and can be written.
    file: Option<File>,
    head: JournalHeader,
    /// The sector the next record goes to.
    next: usize,
    /// Sectors of a write that failed, to be zeroed before the next.
    stained: Option<std::ops::Range<usize>>,
    /// What brings it to the disk.
    sync: fn(&File) -> io::Result<()>,
    /// Whether what is there is kept beside the new one when it is rewritten.
    damaged: bool,
    /// What was settled when it was read, as far as it is still there.
    settled: Vec<JournalEntry>,
}

impl JournalFile {
    /// Reads a journal and touches nothing. It takes no records before [`JournalFile::mend`].
    ///
    /// # Errors
    /// If there is a file that cannot be read.
    pub fn read(path: &Path) -> io::Result<(Self, JournalFound)> {
        let bytes = match fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (head, sync) = (JournalHeader::default(), File::sync_data);
        let (path, shown) = (path.to_owned(), Arc::default());
        let (file, stained, settled) = (None, None, Vec::new());
        let mut read = Self {
            path,
            shown,
            file,
            head,
            next: 1,
            stained,
            sync,
            damaged: false,
            settled,
        };
        let found = bytes.map_or(JournalFound::Missing, |bytes| read.take_in(&bytes));
        read.damaged = matches!(found, JournalFound::Damaged(_));
        if found == JournalFound::Whole {
            read.file = writable(&read.path).ok();
        }
        read.tell();
        Ok((read, found))
    }

    /// The same, brought to the disk by this.
    #[must_use]
    pub fn synced_by(self, sync: fn(&File) -> io::Result<()>) -> Self {
        Self { sync, ..self }
    }

    /// What is not yet known to be in the ledger, oldest first.
    pub fn pending(&self) -> Vec<JournalEntry> {
        self.shown.pending.lock().entries()
    }

    /// What was settled when the file was read: a ledger that lacks one of these is another, or an
    /// older one. The newest are among them; those before are written over.
    pub fn settled(&self) -> &[JournalEntry] {
        &self.settled
    }

    /// Up to which record a ledger has everything.
    pub fn settled_up_to(&self) -> u64 {
        self.head.settled
    }

    /// How many records there ever were.
    pub fn ever(&self) -> u64 {
        self.head.ever
    }

    pub(super) fn shown(&self) -> &Arc<Shown> {
        &self.shown
    }

    fn tell(&self) {
        self.shown.ever.store(self.head.ever, Ordering::SeqCst);
    }

    /// Takes over what a file holds, and judges it.
    fn take_in(&mut self, bytes: &[u8]) -> JournalFound {
        let headless = !bytes.is_empty() && !sector::is_of_this_form(bytes);
        let (records, mut faults) = if headless {
            let (records, fault) = headless::scan(bytes);
            (records, fault.into_iter().collect())
        } else {
            let found = sector::scan(bytes, JOURNAL_BYTES);
            (self.head, self.next, self.stained) = (found.head, found.next, found.torn);
            self.settled = found
                .settled
                .iter()
                .flat_map(|record| entries_of(record))
                .flatten()
                .collect();
            (found.records, found.faults)
        };
        let mut pending = self.shown.pending.lock();
        for entry in records.iter().flat_map(|record| entries_of(record)) {
            match entry {
                Ok(entry) => pending.push(entry),
                Err(error) => faults.push(format!("a record makes no sense: {error}")),
            }
        }
        match (faults.first(), headless) {
            (Some(_), _) => JournalFound::Damaged(told(&faults)),
            (None, true) if bytes.len() != JOURNAL_BYTES => JournalFound::Damaged(format!(
                "it has {} bytes and not {JOURNAL_BYTES}",
                bytes.len()
            )),
            (None, true) => JournalFound::Headless,
            (None, false) => JournalFound::Whole,
        }
    }

    /// Writes entries as one record, with one sync: all that find room, or none. Answers what
    /// became of each.
    pub(super) fn append(&mut self, entries: Vec<Written>) -> Vec<io::Result<()>> {
        if entries.is_empty() {
            return Vec::new();
        }
        let written = self.put(&entries).or_else(|_| {
            self.file = None; // it may be writable again through a file that is opened anew
            self.put(&entries)
        });
        self.tell();
        let fit = match written {
            Ok(fit) => fit,
            Err(error) => {
                return entries
                    .iter()
                    .map(|_| Err(io::Error::new(error.kind(), error.to_string())))
                    .collect();
            }
        };
        let used = self.next * SECTOR;
        let full = || {
            let why = format!(
                "the journal is full: {used} of {JOURNAL_BYTES} bytes hold commands the ledger lacks"
            );
            io::Error::new(io::ErrorKind::StorageFull, why)
        };
        let mut pending = self.shown.pending.lock();
        let taken = entries.into_iter().zip(fit).map(|((entry, _), fits)| {
            if fits {
                pending.push(*entry);
            }
            fits.then_some(()).ok_or_else(full)
        });
        taken.collect()
    }

    /// The record, and once that is on the disk the head that counts it: a record that is counted
    /// and not whole was damaged. The head's own way to the disk is waited for by nobody; what is
    /// not counted and whole counts all the same. Answers which entries found room.
    fn put(&mut self, entries: &[Written]) -> io::Result<Vec<bool>> {
        self.ready()?;
        let (content, fit) = self.that_fit(entries);
        let Some(record) =
            sector::record(self.head.ever + 1, &content).filter(|_| !content.is_empty())
        else {
            return Ok(fit.iter().map(|_| false).collect());
        };
        let stained = self.stained.clone();
        if let Some(stained) = &stained {
            self.ready()?
                .write_all_at(&vec![0; stained.len() * SECTOR], offset(stained.start))?;
        }
        let (first, sectors) = (self.next, record.len() / SECTOR);
        let from = stained.map_or(first, |old| old.start.min(first));
        self.stained = Some(from..first + sectors);
        let head = JournalHeader {
            ever: self.head.ever + 1,
            ..self.head
        };
        let sync = self.sync;
        let file = self.ready()?;
        file.write_all_at(&record, offset(first))?;
        sync(file)?;
        // One that could not be written is written with the next.
        let _counted = file.write_all_at(&head.sector(), 0);
        (self.stained, self.head, self.next) = (None, head, first + sectors);
        Ok(fit)
    }

    /// What of these there is room for, and which. A record alone, or what its client was told,
    /// must not take the room that a kill may need: whoever repeats a command fills half of it at
    /// most.
    fn that_fit(&self, entries: &[Written]) -> (Vec<u8>, Vec<bool>) {
        let mut content = Vec::new();
        let fit = entries.iter().map(|(entry, own)| {
            let room = if entry.effect == Effect::Nothing || entry.record.answer.told {
                JOURNAL_BYTES / 2
            } else {
                JOURNAL_BYTES
            };
            let fits = self.next * SECTOR + sector::bytes_of(content.len() + own.len()) <= room;
            content.extend_from_slice(if fits { own } else { &[] });
            fits
        });
        let fit = fit.collect();
        (content, fit)
    }

    /// The ledger has the entries whose records have these ids. Where that leaves none, the file
    /// counts as empty.
    ///
    /// # Errors
    /// If that cannot be written: a start brings them to the ledger again.
    pub fn settle(&mut self, settled: &[String]) -> io::Result<()> {
        let is_empty = {
            let mut pending = self.shown.pending.lock();
            pending.settle(settled);
            pending.is_empty()
        };
        if !is_empty || self.head.settled == self.head.ever {
            return Ok(());
        }
        let (head, sync) = (
            JournalHeader {
                settled: self.head.ever,
                ..self.head
            },
            self.sync,
        );
        let file = self.ready()?;
        file.write_all_at(&head.sector(), 0)?;
        sync(file)?;
        (self.head, self.next) = (head, 1);
        Ok(())
    }

    fn ready(&mut self) -> io::Result<&File> {
        self.mend(0, false)?;
        self.file
            .as_ref()
            .ok_or_else(|| io::Error::other("the journal is not open"))
    }

    /// Whether [`JournalFile::mend`] writes it anew.
    pub fn is_to_be_mended(&self, seen: u64, anew: bool) -> bool {
        let in_form =
            self.file.is_some() || (!self.damaged && self.head != JournalHeader::default());
        anew || !in_form || self.head.ever < seen
    }

    /// Brings the file into today's form, where it is not: what is pending stays. Its number of
    /// records is at least `seen` from here on. A damaged file is kept beside it, as
    /// `journal.damaged`. `anew`: what was settled leaves no trace.
    ///
    /// # Errors
    /// If it cannot be written; it is tried again with the next record.
    pub fn mend(&mut self, seen: u64, anew: bool) -> io::Result<()> {
        if !self.is_to_be_mended(seen, anew) {
            if self.file.is_none() {
                self.file = Some(writable(&self.path)?);
            }
            return Ok(());
        }
        // A number more than there are makes it a new file.
        let settled = seen.max(self.head.ever + u64::from(anew));
        let image = Image::of(&self.pending(), settled)?;
        self.file = Some(image.replace(&self.path, self.damaged)?);
        let Image { head, next, .. } = image;
        (self.head, self.next, self.stained, self.damaged) = (head, next, None, false);
        self.tell();
        Ok(())
    }
}

/// The entries of a record, one after the other.
fn entries_of(record: &[u8]) -> impl Iterator<Item = serde_json::Result<JournalEntry>> {
    serde_json::Deserializer::from_slice(record).into_iter()
}

/// A link put in the file's place is not followed.
fn no_follow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}

fn writable(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .custom_flags(no_follow())
        .open(path)
}

fn offset(sector: usize) -> u64 {
    (sector * SECTOR) as u64
}

/// The first few faults; a file of noise has thousands.
fn told(faults: &[String]) -> String {
    const SHOWN: usize = 3;
    let more = if faults.len() > SHOWN {
        format!("; and {} more", faults.len() - SHOWN)
    } else {
        String::new()
    };
    format!("{}{more}", faults[..faults.len().min(SHOWN)].join("; "))
}
