//! What the log says of commands and of the holds that a process starts with: who, why, which
//! throttle, which hold.
//!
//! Only words; nothing here decides, closes or opens.

use std::collections::BTreeMap;

use crate::domain::audit::{AuditDraft, CommandRecord};
use crate::domain::hold::{Hold, Scope};
use crate::domain::level::Level;
use crate::domain::throttle::{Declared, ThrottleName};
use crate::ports::JournalEntry;
use crate::sync::Mutex;

/// What stands for every throttle.
const ALL: &str = "all";
/// Names in one line.
const NAMED: usize = 8;

/// A kill that a person sent.
pub(super) fn killed(scope: &Scope, hold: &Hold, audit: &AuditDraft) {
    let throttle = match scope {
        Scope::All => ALL,
        Scope::One(name) => name.as_str(),
    };
    let (epoch, operator, reason) = (&hold.epoch.0, &hold.operator, &hold.reason);
    let AuditDraft {
        actor, request_id, ..
    } = audit;
    tracing::warn!(
        throttle, epoch, operator, reason, actor, request_id, "killed"
    );
}

/// A command that the ledger did not take: all that is to be said of it, in one line.
pub(super) fn not_taken(
    record: &CommandRecord,
    ledger: &str,
    durable: bool,
    journal: Option<&String>,
) {
    let CommandRecord {
        once,
        audit:
            AuditDraft {
                action,
                throttle,
                operator,
                request_id,
                ..
            },
        ..
    } = record;
    let journal = match (durable, journal) {
        (true, _) => "has it",
        (false, Some(error)) => error,
        (false, None) => "did not take it in time, or there is none",
    };
    let lost = if durable {
        ""
    } else {
        ", and a restart loses it"
    };
    tracing::error!(
        action = action.as_str(),
        throttle,
        operator,
        request_id,
        once,
        ledger,
        journal,
        "the ledger did not take a command yet{lost}; what it closed stays shut"
    );
}

/// A command that the ledger has and the journal did not take.
pub(super) fn kept_by_the_ledger_alone(record: &CommandRecord, journal: Option<&String>) {
    let Some(journal) = journal else { return };
    let CommandRecord {
        once,
        audit:
            AuditDraft {
                action,
                throttle,
                operator,
                request_id,
                ..
            },
        ..
    } = record;
    tracing::error!(
        action = action.as_str(),
        throttle,
        operator,
        request_id,
        once,
        journal,
        "the journal did not take a command; the ledger has it"
    );
}

/// Commands that are told the ledger again and do not get through, and why: said when it begins
/// that there is one, and when there is none any more, not each time. Others that get through
/// meanwhile end nothing of it.
#[derive(Default)]
pub(super) struct RetryFailures(Mutex<BTreeMap<String, String>>);

impl RetryFailures {
    /// One does not.
    pub(super) fn fails(&self, record: &CommandRecord, why: String) {
        let CommandRecord {
            once,
            audit: AuditDraft { action, .. },
            ..
        } = record;
        let mut stuck = self.0.lock();
        if stuck.is_empty() {
            tracing::error!(
                why,
                once,
                action = action.as_str(),
                "the ledger does not take a command; it is told it until it does"
            );
        } else {
            tracing::debug!(
                why,
                once,
                action = action.as_str(),
                "the ledger does not take a command that it is told again"
            );
        }
        stuck.insert(once.clone(), why);
    }

    /// One does.
    pub(super) fn works(&self, once: &str) {
        let mut stuck = self.0.lock();
        if stuck.remove(once).is_some() && stuck.is_empty() {
            tracing::info!(once, "the ledger takes commands again");
        }
    }

    /// Those that are not owed any more, got through another way or were given up.
    pub(super) fn keep(&self, owed: &[JournalEntry]) {
        self.0
            .lock()
            .retain(|once, _| owed.iter().any(|entry| entry.record.once == *once));
    }

    /// Why one of these does not, after a colon; nothing where none failed.
    pub(super) fn why(&self, of: &[JournalEntry]) -> String {
        let stuck = self.0.lock();
        of.iter()
            .find_map(|entry| stuck.get(&entry.record.once))
            .map(|why| format!(": {why}"))
            .unwrap_or_default()
    }
}

/// A kill that was found declared, in a manifest or a cluster, or that holds from before a start.
pub(super) fn holds(hold: &Hold, throttles: &[ThrottleName]) {
    let throttle = names(throttles);
    let (epoch, source, operator, reason) = (
        &hold.epoch.0,
        hold.source.to_string(),
        &hold.operator,
        &hold.reason,
    );
    let since = hold.taken_at.to_string();
    tracing::warn!(
        throttle,
        epoch,
        source,
        operator,
        reason,
        since,
        "a kill is in force"
    );
}

/// A kill that was found to have ended.
pub(super) fn gone(hold: &Hold, throttle: &ThrottleName) {
    let (epoch, source, operator, reason) = (
        &hold.epoch.0,
        hold.source.to_string(),
        &hold.operator,
        &hold.reason,
    );
    tracing::warn!(%throttle, epoch, source, operator, reason, "a kill has ended");
}

/// What holds before a command ends some of it.
pub(super) struct HoldsBefore(BTreeMap<String, (Hold, Vec<ThrottleName>)>);

impl HoldsBefore {
    pub(super) fn of<'a>(all: impl IntoIterator<Item = &'a Declared>) -> Self {
        let mut standing = BTreeMap::<String, (Hold, Vec<ThrottleName>)>::new();
        for declared in all {
            for hold in &declared.holds {
                let (_, under) = standing
                    .entry(hold.epoch.0.clone())
                    .or_insert_with(|| (hold.clone(), Vec::new()));
                under.push(declared.name.clone());
            }
        }
        Self(standing)
    }

    /// A hold of these that a person ended.
    pub(super) fn ended(&self, epoch: &str, audit: &AuditDraft) {
        let AuditDraft {
            actor,
            operator,
            reason,
            request_id,
            ..
        } = audit;
        let Some((hold, throttles)) = self.0.get(epoch) else {
            tracing::warn!(
                epoch,
                operator,
                reason,
                actor,
                request_id,
                "revived: a hold ended"
            );
            return;
        };
        let (throttle, taken_by, taken_for) = (names(throttles), &hold.operator, &hold.reason);
        let what = if hold.is_kill() { "kill" } else { "level" };
        tracing::warn!(
            throttle,
            epoch,
            what,
            taken_by,
            taken_for,
            operator,
            reason,
            actor,
            request_id,
            "revived: a hold ended"
        );
    }
}

/// A level that a person declared; `floor` is what somebody else declares more of, which stays.
pub(super) fn declared(
    throttle: &ThrottleName,
    level: Level,
    floor: Option<Level>,
    audit: &AuditDraft,
) {
    let AuditDraft {
        actor,
        operator,
        reason,
        request_id,
        ..
    } = audit;
    let (throttle, level) = (throttle.as_str(), level.fraction());
    match floor.map(Level::fraction) {
        None => tracing::info!(
            throttle,
            level,
            operator,
            reason,
            actor,
            request_id,
            "a level was declared"
        ),
        Some(stays) => tracing::info!(
            throttle,
            level,
            stays,
            operator,
            reason,
            actor,
            request_id,
            "a lower level was asked for than the manifest or spec declares, which stays"
        ),
    }
}

fn names(throttles: &[ThrottleName]) -> String {
    let named: Vec<_> = throttles
        .iter()
        .take(NAMED)
        .map(ThrottleName::as_str)
        .collect();
    let more = throttles.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", named.join(", "))
}
