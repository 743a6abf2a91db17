//! What a process starts from, recorded: what nobody accounts for, and what is in force.

use jiff::Timestamp;

use super::{ApplyError, holds};
use crate::domain::audit::{AuditAction, AuditDraft, Receipt};
use crate::domain::hold::{Hold, ScopedHold, Source};
use crate::store::accounts;
use crate::store::sqlite::group::Group;
use crate::store::sqlite::rows::{self, Moved};

/// Records what a process starts from: what is in force by the record now, not by what its caller
/// read before. A hold that nobody accounts for gets an entry that says so, once; what has ended
/// meanwhile does not begin again.
pub(super) fn begin(
    conn: &Group<'_>,
    at: Timestamp,
    holds: &[ScopedHold],
) -> Result<Receipt, ApplyError> {
    let accounts = accounts::now(conn)?;
    let by_log = accounts::live(conn)?;
    let has = |all: &[ScopedHold], held: &ScopedHold| {
        all.iter().any(|one| one.hold.epoch == held.hold.epoch)
    };
    let mut receipt = Receipt::default();
    let mut lost: Vec<ScopedHold> = Vec::new();
    // What is declared comes by its own declaration.
    let open = |held: &&ScopedHold| {
        !held.hold.source.is_declared() && !accounts.ended.contains(&held.hold.epoch)
    };
    for held in holds.iter().filter(open) {
        if held.hold.source != Source::Unaccounted && has(&accounts.live, held) {
            continue;
        }
        let hold = Hold {
            source: Source::Unaccounted,
            ..held.hold.clone()
        };
        let held = ScopedHold {
            scope: held.scope.clone(),
            hold,
        };
        let told = |known: &ScopedHold| {
            known.hold.epoch == held.hold.epoch && known.hold.source == Source::Unaccounted
        };
        if !by_log.iter().any(told) {
            tell_lost(conn, at, &held, &mut receipt)?;
        }
        lost.push(held);
    }
    holds::tell_kills_of(conn, None)?;
    let mut live = accounts::now(conn)?.live;
    live.retain(|known| !has(&lost, known));
    live.extend(lost);
    receipt
        .audit
        .push(rows::append_checkpoint(conn, at, &live)?);
    Ok(receipt)
}

fn tell_lost(
    conn: &Group<'_>,
    at: Timestamp,
    held: &ScopedHold,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    let draft = AuditDraft {
        after: format!("held {}", held.hold.epoch),
        operator: held.hold.operator.clone(),
        reason: format!("no record tells that it ended: {}", held.hold.reason),
        ..AuditDraft::own(at, AuditAction::Unaccounted).on(accounts::scope_text(&held.scope))
    };
    let moved = Moved {
        taken: std::slice::from_ref(held),
        ended: &[],
    };
    receipt.audit.push(rows::append_audit(conn, &draft, moved)?);
    if holds::has_ended(conn, &held.hold.epoch)?.is_none() {
        holds::take(conn, held)?;
    }
    Ok(())
}
