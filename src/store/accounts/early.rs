//! Entries of format 1: they name the hold they take, in words, and seldom the one they end.
//!
//! So a hold counts as ended if an entry after it may have ended it. What no word tells is left to
//! the table.

use jiff::Timestamp;

use super::log_entry::LogEntry;
use crate::domain::audit::AuditAction;
use crate::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};
use crate::domain::throttle::ThrottleName;

/// What entries of format 1 say.
#[derive(Default)]
pub(super) struct Early {
    taken: Vec<(i64, ScopedHold)>,
    ends: Vec<End>,
}

/// An entry that may have ended holds.
struct End {
    seq: i64,
    at: String,
    by: By,
}

enum By {
    /// A revival: of holds that people took. Which ones an entry with an epoch meant, it does not
    /// say.
    Revival,
    /// A file's new word on a throttle.
    Declaration(String),
    /// A command for a level: of what one before it held.
    Level(String),
    /// Its id.
    Epoch(Epoch),
}

impl Early {
    pub(super) fn take_in(&mut self, entry: &LogEntry) {
        match entry.action {
            AuditAction::Kill if entry.before != entry.after => {
                if let Some(epoch) = entry.after.strip_prefix("killed ") {
                    self.taken.extend(
                        taken(entry, epoch.to_owned(), Source::Rest).map(|hold| (entry.seq, hold)),
                    );
                }
            }
            AuditAction::Declare => match (
                entry.after.ends_with(", killed"),
                entry.reason.strip_prefix("generation "),
            ) {
                (true, Some(generation)) => {
                    let epoch = format!("{}@{generation}", entry.throttle);
                    self.taken.extend(
                        taken(entry, epoch, Source::Manifest).map(|hold| (entry.seq, hold)),
                    );
                }
                _ => self.ended(entry, By::Declaration(entry.throttle.clone())),
            },
            AuditAction::Revive if entry.before != "running" => self.ended(entry, By::Revival),
            AuditAction::Control => self.ended(entry, By::Level(entry.throttle.clone())),
            AuditAction::HoldEnded => self.ended(entry, By::Epoch(Epoch(entry.before.clone()))),
            _ => {}
        }
    }

    fn ended(&mut self, entry: &LogEntry, by: By) {
        self.ends.push(End {
            seq: entry.seq,
            at: entry.at.clone(),
            by,
        });
    }

    /// Entries of a later format name what they end.
    pub(super) fn end(&mut self, epochs: &[Epoch]) {
        self.taken
            .retain(|(_, hold)| !epochs.contains(&hold.hold.epoch));
    }

    /// Those that nothing may have ended.
    pub(super) fn live(&self) -> impl Iterator<Item = &(i64, ScopedHold)> {
        self.taken.iter().filter(|(seq, hold)| {
            !self
                .ends
                .iter()
                .any(|end| end.seq > *seq && end.by.means(hold))
        })
    }

    /// Whether an entry at or after a hold's time may have ended it. One that was never heard of
    /// before its end bears none.
    pub(super) fn may_have_ended(&self, epoch: &Epoch, hold: Option<&ScopedHold>) -> bool {
        let Some(hold) = hold else {
            return self.ends.iter().any(|end| end.by.may_mean(epoch));
        };
        let taken = self
            .taken
            .iter()
            .find(|(_, taken)| taken.hold.epoch == hold.hold.epoch)
            .map(|(seq, _)| *seq);
        let at = format!("{:.6}", hold.hold.taken_at);
        let after = |end: &End| taken.map_or(end.at >= at, |seq| end.seq > seq);
        self.ends.iter().any(|end| after(end) && end.by.means(hold))
    }
}

impl By {
    /// Whether it may mean a hold of which nothing but the id is known.
    fn may_mean(&self, own: &Epoch) -> bool {
        match self {
            Self::Revival => true,
            Self::Epoch(epoch) => epoch == own,
            Self::Declaration(_) | Self::Level(_) => false,
        }
    }

    fn means(&self, hold: &ScopedHold) -> bool {
        let on = |name: &str| matches!(&hold.scope, Scope::One(own) if own.as_str() == name);
        match self {
            Self::Revival => !hold.hold.source.is_declared(),
            Self::Declaration(name) => hold.hold.source.is_declared() && on(name),
            Self::Level(name) => !hold.hold.is_kill() && on(name),
            Self::Epoch(epoch) => hold.hold.epoch == *epoch,
        }
    }
}

/// The hold as far as the words tell.
fn taken(entry: &LogEntry, epoch: String, source: Source) -> Option<ScopedHold> {
    let scope = match entry.throttle.as_str() {
        "" => Scope::All,
        // Several names of a cluster's override: it means what it meant, and its object says what.
        name => ThrottleName::try_from(name.to_owned()).map_or(Scope::All, Scope::One),
    };
    let hold = Hold {
        epoch: Epoch(epoch),
        bite: HoldEffect::Kill,
        source,
        reason: entry.reason.clone(),
        operator: "unknown".to_owned(),
        taken_at: entry.at.parse::<Timestamp>().ok()?,
    };
    Some(ScopedHold { scope, hold })
}
