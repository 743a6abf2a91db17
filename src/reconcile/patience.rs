//! How long a pass waits for the ledger: for its limit, and not beyond a kill of its own throttle.

use std::time::Duration;

use tokio::time::timeout;

use crate::domain::throttle::ThrottleName;

use super::ReconcileContext;

/// How long the ledger may take for one thing that it is asked.
pub(super) const LEDGER_LIMIT: Duration = Duration::from_secs(2);

/// Whoever waits, and what it knew when it began.
#[derive(Clone, Copy)]
pub(super) struct LedgerPatience<'a> {
    pub(super) parts: &'a ReconcileContext,
    /// Whose pass it is; none: a kill of any throttle ends the wait.
    pub(super) throttle: Option<&'a ThrottleName>,
    /// The gates' newest tightening when it began.
    pub(super) known: u64,
    /// A kill is at its gate that is declared in a moment: whoever tells others of it is not to be
    /// late by this.
    pub(super) hurries: bool,
}

/// What came first.
pub(super) enum Waited<T> {
    /// The answer.
    Answered(T),
    /// Its limit.
    Late,
    /// A kill: the pass that sees it is not far.
    Overtaken,
}

impl LedgerPatience<'_> {
    /// Waits for an answer of the ledger.
    pub(super) async fn wait<T>(&self, answer: impl Future<Output = T>) -> Waited<T> {
        if self.hurries {
            return Waited::Overtaken;
        }
        tokio::select! {
            biased;
            answer = timeout(LEDGER_LIMIT, answer) => answer.map_or(Waited::Late, Waited::Answered),
            () = self.killed() => Waited::Overtaken,
        }
    }

    /// Waits for a kill that is newer than what was known.
    pub(super) async fn killed(&self) {
        let gate = &self.parts.gate;
        match self.throttle {
            Some(name) => gate.held_at_after(name, self.known).await,
            None => gate.held_after(self.known).await,
        }
    }
}
