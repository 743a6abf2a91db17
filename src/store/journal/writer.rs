//! The one thread that writes the journal: takes what is queued, writes it with one sync, then
//! answers.
//!
//! Knows the order of things; what they look like in the file is `file`'s.

use std::io;

use tokio::sync::oneshot;

use super::file::{JournalFile, Written};
use crate::sync::mpsc::Receiver;

/// Most that is taken at once: what queued up during a sync is the next group.
const GROUP_LIMIT: usize = 64;

/// Something to do, and who waits for it.
#[derive(Debug)]
pub(super) struct JournalRequest {
    pub(super) work: JournalOp,
    pub(super) reply: oneshot::Sender<io::Result<()>>,
}

#[derive(Debug)]
pub(super) enum JournalOp {
    /// To write an entry.
    Append(Written),
    /// To forget the entry whose record has this id.
    Settle(String),
}

/// The one who writes the file, with what is queued for it. It does nothing by itself: a journal's
/// thread gives it its turns, or whoever says when a disk answers.
#[derive(Debug)]
pub struct JournalWriter {
    pub(super) file: JournalFile,
    pub(super) jobs: Receiver<JournalRequest>,
}

/// What was queued together and shares a sync.
#[derive(Debug, Default)]
pub struct JournalBatch {
    entries: Vec<Written>,
    settled: Vec<String>,
    /// Who waits for an entry, in their order, and who for what is settled.
    appending: Vec<Reply>,
    settling: Vec<Reply>,
}

type Reply = oneshot::Sender<io::Result<()>>;

/// What became of a batch, before anybody was told.
#[derive(Debug)]
pub struct JournalDone(Vec<(Reply, io::Result<()>)>);

impl JournalWriter {
    /// Serves until the queue is closed and empty.
    pub(super) fn run(&mut self) {
        while let Ok(first) = self.jobs.recv() {
            let mut batch = self.batch(first);
            // Entries first: a kill waits for them, and one of them may be among those that are
            // settled.
            self.append(&mut batch).tell();
            self.settle(batch).tell();
        }
    }

    /// What is queued, if anything is.
    pub fn queued(&self) -> Option<JournalBatch> {
        self.jobs.try_recv().ok().map(|first| self.batch(first))
    }

    fn batch(&self, first: JournalRequest) -> JournalBatch {
        let mut batch = JournalBatch::default();
        for JournalRequest { work, reply } in
            std::iter::once(first).chain(self.jobs.try_iter().take(GROUP_LIMIT - 1))
        {
            match work {
                JournalOp::Append(entry) => {
                    batch.entries.push(entry);
                    batch.appending.push(reply);
                }
                JournalOp::Settle(once) => {
                    batch.settled.push(once);
                    batch.settling.push(reply);
                }
            }
        }
        batch
    }

    /// Writes the entries of a batch.
    pub fn append(&mut self, batch: &mut JournalBatch) -> JournalDone {
        let written = self.file.append(std::mem::take(&mut batch.entries));
        JournalDone(
            std::mem::take(&mut batch.appending)
                .into_iter()
                .zip(written)
                .collect(),
        )
    }

    /// Settles what a batch settles.
    pub fn settle(&mut self, batch: JournalBatch) -> JournalDone {
        let JournalBatch {
            settled, settling, ..
        } = batch;
        let done = if settled.is_empty() {
            Ok(())
        } else {
            self.file.settle(&settled)
        };
        JournalDone(
            settling
                .into_iter()
                .map(|reply| (reply, again(&done)))
                .collect(),
        )
    }
}

impl JournalBatch {
    /// Whether it has an entry.
    pub fn appends(&self) -> bool {
        !self.entries.is_empty()
    }
}

impl JournalDone {
    /// Tells everybody.
    pub fn tell(self) {
        self.0
            .into_iter()
            .for_each(|(reply, done)| tell(reply, done));
    }
}

/// Whoever stopped waiting does not hear of it; it was done all the same.
fn tell(reply: oneshot::Sender<io::Result<()>>, done: io::Result<()>) {
    let _gone = reply.send(done);
}

/// What became of a group, for one more of those who wait.
fn again(done: &io::Result<()>) -> io::Result<()> {
    done.as_ref()
        .copied()
        .map_err(|error| io::Error::new(error.kind(), error.to_string()))
}
