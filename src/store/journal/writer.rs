//! The one thread that writes the journal: takes what is queued, writes it with one sync, then answers.
//!
//! Knows the order of things; what they look like in the file is `file`'s.

use std::io;
use std::sync::mpsc::Receiver;

use tokio::sync::oneshot;

use super::file::JournalFile;
use crate::ports::JournalEntry;

/// Most that is taken at once: what queued up during a sync is the next group.
const GROUP_LIMIT: usize = 64;

/// Something to do, and who waits for it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<io::Result<()>>,
}

#[derive(Debug)]
pub(super) enum Work {
    /// To write an entry.
    Append(Written),
    /// To forget the entry whose record has this id.
    Settle(String),
}

/// An entry with what is written of it.
pub(super) type Written = (Box<JournalEntry>, Vec<u8>);

/// Serves until the queue is closed and empty.
pub(super) fn run(file: &mut JournalFile, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let (mut entries, mut settled) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for Job { work, reply } in std::iter::once(first).chain(jobs.try_iter().take(GROUP_LIMIT - 1)) {
            match work {
                Work::Append(entry) => {
                    entries.0.push(entry);
                    entries.1.push(reply);
                }
                Work::Settle(once) => {
                    settled.0.push(once);
                    settled.1.push(reply);
                }
            }
        }
        // Entries first: a kill waits for them, and one of them may be among those that are settled.
        let written = file.append(entries.0);
        entries.1.into_iter().zip(written).for_each(|(reply, done)| tell(reply, done));
        if !settled.0.is_empty() {
            let done = file.settle(&settled.0);
            settled.1.into_iter().for_each(|reply| tell(reply, again(&done)));
        }
    }
}

/// Whoever stopped waiting does not hear of it; it was done all the same.
fn tell(reply: oneshot::Sender<io::Result<()>>, done: io::Result<()>) {
    let _gone = reply.send(done);
}

/// What became of a group, for one more of those who wait.
fn again(done: &io::Result<()>) -> io::Result<()> {
    done.as_ref().copied().map_err(|error| io::Error::new(error.kind(), error.to_string()))
}
