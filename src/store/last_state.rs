//! The last state of the gate, on disk beside the ledger: what a start goes by when the ledger
//! cannot be read.
//!
//! Two slots of fixed size, written in turn and in place, so that neither a full disk nor a crash
//! in the middle of a write costs the state before it. Knows bytes; when to write is `run`'s.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::domain::audit::ThrottleRow;
use crate::ports::Stored;

/// File name within the data folder.
pub const LAST_STATE_FILE: &str = "last-state";

/// Bytes of one slot: a thousand throttles with their holds. A larger state grows the file, if the
/// disk lets it.
const SLOT: usize = 512 * 1024;

/// Sequence number `u64`, length `u32`, checksum `u32`, little-endian.
const HEADER: usize = 16;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastState {
    /// What was declared and in force.
    #[serde(flatten)]
    pub stored: Stored,
    /// How many records the journal had by then; releases up to 2.4.0 did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<u64>,
}

impl LastState {
    /// Whether a file that has `written` may wait for this one: where they differ in rates, and in
    /// levels in force that are lower now. A start from it is shut more than it was, and never less.
    #[must_use]
    pub fn may_lag_behind(&self, written: &Self) -> bool {
        let (now, then) = (&self.stored, &written.stored);
        let lags = |(now, then): (&ThrottleRow, &ThrottleRow)| {
            let same = ThrottleRow {
                effective: now.effective,
                offered: now.offered.clone(),
                ..then.clone()
            };
            now.effective <= then.effective && *now == same
        };
        self.journal == written.journal
            && now.holds == then.holds
            && now.throttles.len() == then.throttles.len()
            && now.throttles.iter().zip(&then.throttles).all(lags)
    }
}

/// What was found in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastFound {
    /// The newest state that is whole.
    pub state: Option<LastState>,
    /// What is not as it was written, if anything is not.
    pub fault: Option<String>,
}

/// The file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// Number of the newest whole slot.
    seq: u64,
    /// Bytes of one slot of this file.
    slot: usize,
    written: Vec<u8>,
}

impl StateFile {
    /// Opens the file of a data folder, or makes it at its full size, and reads the newest whole
    /// state.
    ///
    /// # Errors
    /// If it can neither be read nor made.
    pub fn open(folder: &Path) -> io::Result<(Self, LastFound)> {
        let path = folder.join(LAST_STATE_FILE);
        // A link is left for whoever laid it to explain, also one that leads nowhere.
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            return Err(io::Error::other(format!("{LAST_STATE_FILE} is a link")));
        }
        if !path.try_exists()? {
            make(&path)?;
        }
        let mut file = reopen(&path)?;
        let mut bytes = Vec::with_capacity(2 * SLOT);
        file.read_to_end(&mut bytes)?;
        let short = (bytes.len() < 2 * SLOT)
            .then(|| format!("it has {} bytes and not {}", bytes.len(), 2 * SLOT));
        if bytes.len() < 2 * SLOT {
            file.write_all(&vec![0; 2 * SLOT - bytes.len()])?;
            file.sync_all()?;
            bytes.resize(2 * SLOT, 0);
        }
        let slot = bytes.len() / 2;
        let newest = bytes
            .chunks(slot)
            .filter_map(whole)
            .max_by_key(|(seq, _)| *seq);
        let seq = newest.as_ref().map_or(0, |(seq, _)| *seq);
        let used = |slot: &&[u8]| slot.iter().any(|byte| *byte != 0);
        let broken = bytes
            .chunks(slot)
            .filter(used)
            .filter(|slot| whole(slot).is_none())
            .count();
        let broken = (broken > 0).then(|| match &newest {
            Some(_) => {
                "one of its two states is not whole, as if a write broke off: the other one counts"
                    .to_owned()
            }
            None => "no state in it is whole".to_owned(),
        });
        let inner = Inner {
            file,
            seq,
            slot,
            written: Vec::new(),
        };
        let found = LastFound {
            state: newest.map(|(_, state)| state),
            fault: short.or(broken),
        };
        Ok((
            Self {
                path,
                inner: Mutex::new(inner),
            },
            found,
        ))
    }

    /// Writes a state unless it is the one written last; returns when it is on the disk.
    ///
    /// # Errors
    /// If it cannot be written; the state before it stays readable.
    pub fn write(&self, state: &LastState) -> io::Result<()> {
        let payload = serde_json::to_vec(state).map_err(io::Error::other)?;
        let mut inner = self.inner.lock();
        if inner.written == payload {
            return Ok(());
        }
        if inner.write(&payload).is_err() {
            // What could not be written may have been made writable since.
            inner.file = reopen(&self.path)?;
            inner.write(&payload)?;
        }
        inner.written = payload;
        Ok(())
    }
}

impl Inner {
    fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        if HEADER + payload.len() > self.slot {
            return self.grow(payload);
        }
        let seq = self.seq + 1;
        let at = if seq.is_multiple_of(2) {
            0
        } else {
            self.slot as u64
        };
        self.put(at, seq, payload)?;
        self.seq = seq;
        Ok(())
    }

    /// A file of larger slots: the new state goes to where both old slots end, so that they stay
    /// whole until it is there.
    fn grow(&mut self, payload: &[u8]) -> io::Result<()> {
        let slot = (HEADER + payload.len())
            .next_multiple_of(SLOT)
            .max(2 * self.slot);
        // The new second slot begins where the old file ends, or after it.
        let seq = (self.seq + 1) | 1;
        self.file.set_len(2 * slot as u64)?;
        self.put(slot as u64, seq, payload)?;
        (self.seq, self.slot) = (seq, slot);
        Ok(())
    }

    fn put(&mut self, at: u64, seq: u64, payload: &[u8]) -> io::Result<()> {
        let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.extend_from_slice(&seq.to_le_bytes());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&checksum(seq, payload).to_le_bytes());
        bytes.extend_from_slice(payload);
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(&bytes)?;
        self.file.sync_data()
    }
}

/// Makes the file whole before it has its name: one that a crash or a full disk cut short is none,
/// and no loss.
fn make(path: &Path) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = itself()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    // Written, not only sized: a hole in the file would want disk space when there is none.
    file.write_all(&vec![0; 2 * SLOT])?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Opens for writing where that is possible; a file that is only readable still tells the last
/// state.
fn reopen(path: &Path) -> io::Result<File> {
    let writable = itself().read(true).write(true).open(path);
    writable.or_else(|error| {
        if path.exists() {
            itself().read(true).open(path)
        } else {
            Err(error)
        }
    })
}

/// Follows no link: what it leads to would be written over.
fn itself() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}
fn checksum(seq: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seq.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// The state of a slot, if it is whole.
fn whole(slot: &[u8]) -> Option<(u64, LastState)> {
    let (header, rest) = slot.split_first_chunk::<HEADER>()?;
    let (seq, header) = header.split_first_chunk::<8>()?;
    let (len, sum) = header.split_first_chunk::<4>()?;
    let seq = u64::from_le_bytes(*seq);
    let payload = rest.get(..usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    let sum = u32::from_le_bytes(sum.try_into().ok()?);
    if seq == 0 || checksum(seq, payload) != sum {
        return None;
    }
    Some((seq, serde_json::from_slice(payload).ok()?))
}
