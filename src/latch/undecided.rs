//! Commands that were answered before it was known what becomes of them, and what did. For people;
//! nothing goes by it.

use std::collections::VecDeque;

use crate::domain::audit::AuditDraft;
use crate::domain::hold::Epoch;
use crate::sync::Mutex;

/// Commands kept of which it is known what became of them, the newest. What is not decided, and
/// what holds here alone, stays until it is known or ended: the first holds up the next of its
/// kind, and of the second there is one for each hold.
const KEPT: usize = 16;

/// A command whose client was answered before it was known what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct UndecidedCommand {
    /// Id of the command.
    pub once: String,
    /// Who asked for what, when and why.
    pub audit: AuditDraft,
    /// What became of it.
    pub outcome: CommandOutcome,
}

/// What became of such a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
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
pub(super) struct UndecidedCommands(Mutex<VecDeque<One>>);

/// One of them, with the hold that is here alone by it.
struct One {
    doubt: UndecidedCommand,
    alone: Option<Epoch>,
}

impl UndecidedCommands {
    /// One of which it is not known what becomes of it.
    pub(super) fn undecided(&self, once: &str, audit: &AuditDraft) {
        let doubt = UndecidedCommand {
            once: once.to_owned(),
            audit: audit.clone(),
            outcome: CommandOutcome::Undecided,
        };
        self.0.lock().push_back(One { doubt, alone: None });
    }

    /// It is known what became of one.
    pub(super) fn decided(&self, once: &str, outcome: CommandOutcome) {
        let mut all = self.0.lock();
        for One { doubt, .. } in all.iter_mut().filter(|one| one.doubt.once == once) {
            let (action, throttle, operator) = (
                doubt.audit.action.as_str(),
                &doubt.audit.throttle,
                &doubt.audit.operator,
            );
            let became = if outcome == CommandOutcome::Done {
                "it was done"
            } else {
                "it was not done, and will not be"
            };
            tracing::warn!(
                action,
                throttle,
                operator,
                once,
                "a command that was not decided is: {became}"
            );
            doubt.outcome = outcome.clone();
        }
        flush(&mut all);
    }

    /// This hold is here alone, by this command and why: instead of what was said of it before.
    pub(super) fn refused(&self, epoch: &Epoch, once: &str, audit: &AuditDraft, why: String) {
        let mut all = self.0.lock();
        all.retain(|one| one.alone.as_ref() != Some(epoch));
        let doubt = UndecidedCommand {
            once: once.to_owned(),
            audit: audit.clone(),
            outcome: CommandOutcome::Refused(why),
        };
        all.push_back(One {
            doubt,
            alone: Some(epoch.clone()),
        });
    }

    /// Others have this hold after all.
    pub(super) fn shared(&self, epoch: &Epoch) {
        let mut all = self.0.lock();
        for one in all
            .iter_mut()
            .filter(|one| one.alone.as_ref() == Some(epoch))
        {
            (one.doubt.outcome, one.alone) = (CommandOutcome::Done, None);
        }
        flush(&mut all);
    }

    /// This hold has ended: nothing of it is here alone any more.
    pub(super) fn over(&self, epoch: &Epoch) {
        self.0
            .lock()
            .retain(|one| one.alone.as_ref() != Some(epoch));
    }

    /// All of them, newest first.
    pub(super) fn all(&self) -> Vec<UndecidedCommand> {
        self.0
            .lock()
            .iter()
            .rev()
            .map(|one| one.doubt.clone())
            .collect()
    }

    /// How many are not decided.
    pub(super) fn count_undecided(&self) -> usize {
        self.0
            .lock()
            .iter()
            .filter(|one| one.doubt.outcome == CommandOutcome::Undecided)
            .count()
    }
}

/// Lets the oldest go of which it is known what became of them, where they are too many.
fn flush(all: &mut VecDeque<One>) {
    let is_known = |one: &One| {
        matches!(
            one.doubt.outcome,
            CommandOutcome::Done | CommandOutcome::NotDone
        )
    };
    let mut too_many = all
        .iter()
        .filter(|one| is_known(one))
        .count()
        .saturating_sub(KEPT);
    all.retain(|one| {
        let goes = too_many > 0 && is_known(one);
        too_many -= usize::from(goes);
        !goes
    });
}
