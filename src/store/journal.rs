//! The journal: where a kill becomes durable when the ledger cannot take it.
//!
//! One file of fixed size, written in place, so that neither a full disk nor the store's lock is in a kill's way.
//! Knows records and files; when to write one and what it means is the latch's.

mod headless;
mod sector;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lock;
use crate::ports::{Effect, Journal, JournalEntry};
use sector::{Head, SECTOR};

/// Size of the file: some 1,000 kills of 700 bytes, more than anybody takes while a ledger is away.
pub const JOURNAL_BYTES: usize = 1 << 20;

/// The journal in a file.
#[derive(Debug)]
pub struct FileJournal {
    path: PathBuf,
    /// Held over reading and writing.
    inner: Mutex<Inner>,
    /// What is pending, and how many records there ever were: asked for by those who must not wait for a disk.
    pending: Pending,
    ever: AtomicU64,
    /// What was settled when it was read, as far as it is still there.
    settled: Vec<JournalEntry>,
    /// Up to which record that was.
    settled_up_to: u64,
}

type Pending = Mutex<Vec<JournalEntry>>;

/// What a journal was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalFound {
    /// There was none.
    Missing,
    /// As it was written; the write that a crash broke off is nothing that anybody relies on.
    Whole,
    /// As a release up to 2.4.0 wrote it.
    Headless,
    /// Something of it is gone or was changed, and this is what. What is still whole of it was read.
    Damaged(String),
}

#[derive(Debug)]
struct Inner {
    /// None until it is of today's form and can be written.
    file: Option<File>,
    head: Head,
    /// The sector the next record goes to.
    next: usize,
    /// Sectors of a write that failed, to be zeroed before the next.
    stained: Option<std::ops::Range<usize>>,
    /// What brings it to the disk.
    sync: fn(&File) -> io::Result<()>,
    /// Whether what is there is kept beside the new one when it is rewritten.
    damaged: bool,
}

impl FileJournal {
    /// Reads a journal and touches nothing. It takes no records before [`FileJournal::mend`].
    ///
    /// # Errors
    /// If there is a file that cannot be read.
    pub fn read(path: &Path) -> io::Result<(Self, JournalFound)> {
        let bytes = match fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (head, sync) = (Head::default(), File::sync_data);
        let mut inner = Inner { file: None, head, next: 1, stained: None, sync, damaged: false };
        let (mut pending, mut settled) = (Vec::new(), Vec::new());
        let found = bytes.map_or(JournalFound::Missing, |bytes| inner.take_in(&bytes, &mut pending, &mut settled));
        inner.damaged = matches!(found, JournalFound::Damaged(_));
        if found == JournalFound::Whole {
            inner.file = writable(path).ok();
        }
        let (ever, pending) = (AtomicU64::new(inner.head.ever), Mutex::new(pending));
        let settled_up_to = inner.head.settled;
        let path = path.to_owned();
        Ok((Self { path, inner: Mutex::new(inner), pending, ever, settled, settled_up_to }, found))
    }

    /// Opens a journal, or makes one, at its full size; whatever it was found to be.
    ///
    /// # Errors
    /// If it can neither be read nor made.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (journal, found) = Self::read(path)?;
        if let Err(error) = journal.mend(0, false)
            && found == JournalFound::Missing
        {
            return Err(error);
        }
        Ok(journal)
    }

    /// Brings the file into today's form, where it is not: what is pending stays. Its number of records is at least
    /// `seen` from here on. A damaged file is kept beside it, as `journal.damaged`. `anew`: what was settled leaves no trace.
    ///
    /// # Errors
    /// If it cannot be written; it is tried again with the next record.
    pub fn mend(&self, seen: u64, anew: bool) -> io::Result<()> {
        let mut inner = lock(&self.inner);
        // A number more than there are makes it a new file.
        let seen = if anew { seen.max(inner.head.ever + 1) } else { seen };
        let mended = inner.mend(&self.path, &self.pending, seen);
        self.ever.store(inner.head.ever, Ordering::SeqCst);
        mended
    }

    /// The same, brought to the disk by this.
    #[must_use]
    pub fn synced_by(self, sync: fn(&File) -> io::Result<()>) -> Self {
        lock(&self.inner).sync = sync;
        self
    }

    /// What was settled when the file was read: a ledger that lacks one of these is another, or an older one. The newest are
    /// among them; those before are written over.
    pub fn settled(&self) -> &[JournalEntry] {
        &self.settled
    }

    /// Up to which record a ledger had everything when the file was read.
    pub fn settled_up_to(&self) -> u64 {
        self.settled_up_to
    }

    /// How many records there ever were.
    pub fn ever(&self) -> u64 {
        self.ever.load(Ordering::SeqCst)
    }
}

/// A link put in the file's place is not followed.
fn no_follow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}

fn writable(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).custom_flags(no_follow()).open(path)
}

impl Journal for FileJournal {
    fn append(&self, change: &JournalEntry) -> io::Result<()> {
        let content = serde_json::to_vec(change).map_err(io::Error::other)?;
        let mut inner = lock(&self.inner);
        // A record alone must not take the room that a kill may need: whoever repeats a command fills half of it at most.
        let room = if change.effect == Effect::Nothing { JOURNAL_BYTES / 2 } else { JOURNAL_BYTES };
        let used = inner.next * SECTOR;
        let record = sector::record(inner.head.ever + 1, &content).filter(|record| used + record.len() <= room);
        let Some(record) = record else {
            let why = format!("the journal is full: {used} of {JOURNAL_BYTES} bytes hold commands the ledger lacks");
            return Err(io::Error::new(io::ErrorKind::StorageFull, why));
        };
        if inner.append(&self.path, &self.pending, &record).is_err() {
            inner.file = None; // it may be writable again through a file that is opened anew
            inner.append(&self.path, &self.pending, &record)?;
        }
        lock(&self.pending).push(change.clone());
        self.ever.store(inner.head.ever, Ordering::SeqCst);
        Ok(())
    }

    fn pending(&self) -> Vec<JournalEntry> {
        lock(&self.pending).clone()
    }

    fn settle(&self, once: &str) -> io::Result<()> {
        lock(&self.pending).retain(|entry| entry.record.once != once);
        let mut inner = lock(&self.inner);
        // Looked at under the lock that an append holds: what is being written is not settled with the others.
        let is_empty = lock(&self.pending).is_empty();
        if is_empty && inner.head.settled < inner.head.ever {
            let head = Head { settled: inner.head.ever, ..inner.head };
            inner.put_head(&self.path, &self.pending, head)?;
            (inner.head, inner.next) = (head, 1);
        }
        Ok(())
    }
}

impl Inner {
    /// Takes over what a file holds, and judges it.
    fn take_in(
        &mut self,
        bytes: &[u8],
        pending: &mut Vec<JournalEntry>,
        settled: &mut Vec<JournalEntry>,
    ) -> JournalFound {
        let headless = !bytes.is_empty() && !sector::is_of_this_form(bytes);
        let (records, mut faults) = if headless {
            let (records, fault) = headless::scan(bytes);
            (records, fault.into_iter().collect())
        } else {
            let found = sector::scan(bytes, JOURNAL_BYTES);
            (self.head, self.next, self.stained) = (found.head, found.next, found.torn);
            settled.extend(found.settled.iter().filter_map(|record| serde_json::from_slice(record).ok()));
            (found.records, found.faults)
        };
        for record in records {
            match serde_json::from_slice(&record) {
                Ok(entry) => pending.push(entry),
                Err(error) => faults.push(format!("a record makes no sense: {error}")),
            }
        }
        match (faults.first(), headless) {
            (Some(_), _) => JournalFound::Damaged(told(&faults)),
            (None, true) if bytes.len() != JOURNAL_BYTES => {
                JournalFound::Damaged(format!("it has {} bytes and not {JOURNAL_BYTES}", bytes.len()))
            }
            (None, true) => JournalFound::Headless,
            (None, false) => JournalFound::Whole,
        }
    }

    /// The record, and once that is on the disk the head that counts it: a record that is counted and not whole was damaged.
    /// The head's own way to the disk is waited for by nobody; what is not counted and whole counts all the same.
    fn append(&mut self, path: &Path, pending: &Pending, record: &[u8]) -> io::Result<()> {
        let (stained, sync) = (self.stained.clone(), self.sync);
        let file = self.ready(path, pending)?;
        if let Some(stained) = &stained {
            file.write_all_at(&vec![0; stained.len() * SECTOR], offset(stained.start))?;
        }
        let (first, sectors) = (self.next, record.len() / SECTOR);
        let from = stained.map_or(first, |old| old.start.min(first));
        self.stained = Some(from..first + sectors);
        let head = Head { ever: self.head.ever + 1, ..self.head };
        let file = self.ready(path, pending)?;
        file.write_all_at(record, offset(first))?;
        sync(file)?;
        // One that could not be written is written with the next.
        let _counted = file.write_all_at(&head.sector(), 0);
        (self.stained, self.head, self.next) = (None, head, first + sectors);
        Ok(())
    }

    fn put_head(&mut self, path: &Path, pending: &Pending, head: Head) -> io::Result<()> {
        let sync = self.sync;
        let file = self.ready(path, pending)?;
        file.write_all_at(&head.sector(), 0)?;
        sync(file)
    }

    fn ready(&mut self, path: &Path, pending: &Pending) -> io::Result<&File> {
        self.mend(path, pending, 0)?;
        self.file.as_ref().ok_or_else(|| io::Error::other("the journal is not open"))
    }

    fn mend(&mut self, path: &Path, pending: &Pending, seen: u64) -> io::Result<()> {
        let in_form = self.file.is_some() || (!self.damaged && self.head != Head::default());
        if in_form && self.head.ever >= seen {
            if self.file.is_none() {
                self.file = Some(writable(path)?);
            }
            return Ok(());
        }
        let settled = self.head.ever.max(seen);
        let (image, head, next) = image(&lock(pending).clone(), settled)?;
        self.file = Some(replace(path, &image, self.damaged)?);
        (self.head, self.next, self.stained, self.damaged) = (head, next, None, false);
        Ok(())
    }
}

/// The whole file with what is pending, numbered anew behind `settled`.
fn image(pending: &[JournalEntry], settled: u64) -> io::Result<(Vec<u8>, Head, usize)> {
    let mut image = vec![0; SECTOR];
    let mut ever = settled.max(1); // a file of today's form counts at least itself
    let head = |ever| Head { settled: settled.max(1), ever };
    for entry in pending {
        ever += 1;
        let content = serde_json::to_vec(entry).map_err(io::Error::other)?;
        image.extend(sector::record(ever, &content).ok_or_else(|| io::Error::other("a record is too long"))?);
    }
    let next = image.len() / SECTOR;
    image.resize(JOURNAL_BYTES.max(image.len()), 0);
    image.splice(..SECTOR, head(ever).sector());
    Ok((image, head(ever), next))
}

/// Puts a whole new file in the place of what is there; where there is no room for a second one, over it.
fn replace(path: &Path, image: &[u8], keep: bool) -> io::Result<File> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let new = beside(".new");
    let made = || -> io::Result<File> {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Written, not only sized: a hole in the file would want disk space just when a kill comes.
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all_at(image, 0)?;
        file.sync_all()?;
        if keep && let Err(error) = fs::rename(path, beside(".damaged")) {
            tracing::warn!(%error, "the damaged journal could not be kept");
        }
        fs::rename(&new, path)?;
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            File::open(dir)?.sync_all()?;
        }
        Ok(file)
    };
    made().or_else(|error| {
        let _gone = fs::remove_file(&new);
        if !path.exists() {
            return Err(error);
        }
        let file = writable(path)?;
        file.write_all_at(image, 0)?;
        file.sync_all()?;
        Ok(file)
    })
}

fn offset(sector: usize) -> u64 {
    (sector * SECTOR) as u64
}

/// The first few faults; a file of noise has thousands.
fn told(faults: &[String]) -> String {
    const SHOWN: usize = 3;
    let more = if faults.len() > SHOWN { format!("; and {} more", faults.len() - SHOWN) } else { String::new() };
    format!("{}{more}", faults[..faults.len().min(SHOWN)].join("; "))
}
