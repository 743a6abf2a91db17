//! How a file is read that somebody else may have put there: only a regular one, through symlinks,
//! up to a limit, and never waited for without end.
//!
//! Knows nothing of what stands in it.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};

/// Longest that a file is waited for; a disk that is only slow has long answered.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Why what would be waited for, or never ends, is not read.
pub const SPECIAL: &str = "it is no regular file but a pipe, a socket or a device";

/// What a file has, or why that is not known.
type Bytes = io::Result<Vec<u8>>;

/// Reads a file by a thread of its own: a system call on a mount that hangs cannot be broken off,
/// so it is abandoned. No other is begun while one lasts, or a mount that hangs for a day would
/// cost a thread every second of it.
pub struct PatientReader {
    read: Arc<dyn Fn() -> Bytes + Send + Sync>,
    patience: Duration,
    /// Where the answer of a read that was abandoned will come from.
    abandoned: Mutex<Option<Receiver<Bytes>>>,
}

impl PatientReader {
    /// Reads by `read`, and waits for it for as long as `patience` lasts.
    pub fn new(patience: Duration, read: impl Fn() -> Bytes + Send + Sync + 'static) -> Self {
        Self {
            read: Arc::new(read),
            patience,
            abandoned: Mutex::default(),
        }
    }

    /// Of a regular file of at most `limit` bytes.
    pub fn of(path: &Path, limit: usize) -> Self {
        let path = path.to_owned();
        Self::new(PATIENCE, move || regular(&path, limit))
    }

    /// The file's bytes. Blocks, for as long as the patience lasts at most.
    ///
    /// # Errors
    /// If it cannot be read, or does not answer; then with the kind `TimedOut`.
    pub fn read(&self) -> Bytes {
        let mut abandoned = self.abandoned.lock();
        if let Some(old) = abandoned.take()
            && matches!(old.try_recv(), Err(TryRecvError::Empty))
        {
            *abandoned = Some(old);
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                "an earlier try to read it has not ended yet",
            ));
        }
        // What an abandoned read brought in the end is old: it is read anew.
        let read = Arc::clone(&self.read);
        let from = begun(move || read())?;
        match answer(&from, self.patience) {
            Ok(read) => read,
            Err(error) => {
                *abandoned = Some(from).filter(|_| error.kind() == ErrorKind::TimedOut);
                Err(error)
            }
        }
    }

    /// The same as text.
    ///
    /// # Errors
    /// If it cannot be read, does not answer, or is no text.
    pub fn read_text(&self) -> io::Result<String> {
        text(self.read()?)
    }
}

/// What `work` comes to, which reads files; it is abandoned where that takes longer than
/// [`PATIENCE`].
///
/// # Errors
/// With the kind `TimedOut` if it does not answer.
pub fn patiently<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    answer(&begun(work)?, PATIENCE)
}

/// Begins something on a thread of its own; gives where its answer will come from.
fn begun<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Receiver<T>> {
    let (to, from) = sync_channel(1);
    thread::Builder::new()
        .name("file-reader".to_owned())
        .spawn(move || drop(to.send(work())))?;
    Ok(from)
}

fn answer<T>(from: &Receiver<T>, patience: Duration) -> io::Result<T> {
    from.recv_timeout(patience).map_err(|error| match error {
        RecvTimeoutError::Timeout => {
            let why = format!(
                "no answer within {} s; is its disk or network gone?",
                patience.as_secs()
            );
            io::Error::new(ErrorKind::TimedOut, why)
        }
        RecvTimeoutError::Disconnected => io::Error::other("reading it broke off"),
    })
}

/// Bytes as text.
///
/// # Errors
/// If they are none.
pub fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is no UTF-8 text"))
}

/// Opens a regular file for reading, through symlinks. A named pipe would be waited for until
/// somebody writes, a device for ever, so neither is opened; opening does not wait either.
///
/// # Errors
/// If it cannot be opened; `IsADirectory` or `Unsupported` if it is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "it is a folder"));
    }
    if !kind.is_file() {
        return Err(io::Error::new(ErrorKind::Unsupported, SPECIAL));
    }
    Ok(file)
}

/// Reads a regular file of at most `limit` bytes.
fn regular(path: &Path, limit: usize) -> Bytes {
    let mut bytes = Vec::new();
    open_regular(path)?
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it has more than {limit} bytes"),
        ));
    }
    Ok(bytes)
}
