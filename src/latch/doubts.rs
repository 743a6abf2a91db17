//! Commands that were answered before it was known what becomes of them, and what did. For people; nothing goes by it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::audit::AuditDraft;

/// Commands kept, the newest: what is not decided holds up the next of its kind, so these are few.
const KEPT: usize = 16;

/// A command whose client was answered before it was known what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Doubt {
    /// Id of the command.
    pub once: String,
    /// Who asked for what, when and why.
    pub audit: AuditDraft,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of such a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// That is not known yet: it may still happen.
    Undecided,
    /// It was done.
    Done,
    /// It was not done, and will not be.
    NotDone,
    /// It holds in this process alone, since what would tell others was refused for good: why.
    Refused(String),
}

/// Such commands, oldest first.
#[derive(Default)]
pub(super) struct Doubts(Mutex<VecDeque<Doubt>>);

impl Doubts {
    /// One more.
    pub(super) fn push(&self, once: &str, audit: &AuditDraft, outcome: Outcome) {
        let mut all = self.lock();
        while all.len() >= KEPT {
            // What is not decided goes last.
            let oldest = all.iter().position(|doubt| doubt.outcome != Outcome::Undecided).unwrap_or_default();
            all.remove(oldest);
        }
        all.push_back(Doubt { once: once.to_owned(), audit: audit.clone(), outcome });
    }

    /// It is known what became of one.
    pub(super) fn decided(&self, once: &str, outcome: Outcome) {
        for doubt in self.lock().iter_mut().filter(|doubt| doubt.once == once) {
            let (action, throttle, operator) = (&doubt.audit.action, &doubt.audit.throttle, &doubt.audit.operator);
            let became = if outcome == Outcome::Done { "it was done" } else { "it was not done, and will not be" };
            tracing::warn!(action, throttle, operator, once, "a command that was not decided is: {became}");
            doubt.outcome = outcome.clone();
        }
    }

    /// All of them, newest first.
    pub(super) fn all(&self) -> Vec<Doubt> {
        self.lock().iter().rev().cloned().collect()
    }

    /// How many are not decided.
    pub(super) fn undecided(&self) -> usize {
        self.lock().iter().filter(|doubt| doubt.outcome == Outcome::Undecided).count()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Doubt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
