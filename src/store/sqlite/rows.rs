//! Domain values as rows: the chained tables, and what the mirror owes of them.
//!
//! Knows columns and their order; decides nothing but whether an event is one that is already here
//! (`evidence`).

mod evidence;
mod nonces;
mod outbox;

use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params};

use super::group::{Group, head};
use super::schema::{AUDIT_LOG, CHAINED, Chained, RECONCILIATION_LOG};
use crate::domain::audit::{AuditAction, AuditDraft};
use crate::domain::chain_head::ChainHead;
use crate::domain::drift::{Drift, Who};
use crate::domain::hold::{Epoch, HoldEffect, ScopedHold};
use crate::store::accounts;
use crate::store::chain::Cell;
pub(super) use evidence::{EventMatch, store_evidence};
pub(in crate::store) use nonces::answered;
pub(super) use nonces::{keep_answer, keep_command, knows_command, told};
pub(super) use outbox::outbox;

/// Rows that are forgotten in one piece of work: some ten milliseconds, in which commands wait.
const PRUNED_AT_ONCE: i64 = 2_000;

/// RFC 3339 in UTC, always with six digits, so that the order of the texts is the order in time.
pub(super) fn time(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// A value as JSON.
pub(super) fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(blob) => ValueRef::Blob(blob),
        }))
    }
}

/// The newest row of every chained table, of one moment.
pub(super) fn heads(conn: &Connection) -> rusqlite::Result<Vec<ChainHead>> {
    let tx = conn.unchecked_transaction()?;
    heads_within(&tx)
}

/// The same within a transaction.
pub(in crate::store) fn heads_within(conn: &Connection) -> rusqlite::Result<Vec<ChainHead>> {
    let one = |table: &&Chained| {
        head(conn, table).map(|(seq, hash)| ChainHead {
            table: table.name,
            seq,
            hash,
        })
    };
    CHAINED.iter().map(one).collect()
}

/// The holds that an entry of the audit log took and ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved<'a> {
    pub(super) taken: &'a [ScopedHold],
    pub(super) ended: &'a [Epoch],
}

/// Appends an audit entry and gives its number.
pub(super) fn append_audit(
    conn: &Group<'_>,
    draft: &AuditDraft,
    moved: Moved<'_>,
) -> rusqlite::Result<i64> {
    append_declaring(conn, draft, moved, &[])
}

/// Appends an audit entry that says what is declared, and gives its number.
pub(super) fn append_declaring(
    conn: &Group<'_>,
    draft: &AuditDraft,
    moved: Moved<'_>,
    declares: &[accounts::LoggedDeclaration],
) -> rusqlite::Result<i64> {
    let AuditDraft {
        at,
        actor,
        operator,
        action,
        throttle,
        before,
        after,
        reason,
        binding_signal,
        request_id,
    } = draft;
    let at = time(*at);
    let taken = if moved.taken.is_empty() {
        String::new()
    } else {
        json(&moved.taken)?
    };
    let ended = if moved.ended.is_empty() {
        String::new()
    } else {
        json(&moved.ended)?
    };
    let declares = if declares.is_empty() {
        String::new()
    } else {
        json(&declares)?
    };
    let who = [
        at.as_str(),
        actor.as_str(),
        action.as_str(),
        throttle,
        before,
        after,
        reason,
        binding_signal,
        request_id,
        operator,
    ];
    let texts = who.into_iter().chain([taken.as_str(), &ended, &declares]);
    let seq = conn.append(&AUDIT_LOG, &texts.map(Cell::text).collect::<Vec<_>>())?;
    if seq % accounts::STRIDE == 0 {
        append_checkpoint(conn, draft.at, &accounts::live(conn)?)?;
    }
    Ok(seq)
}

/// Appends the entry that lists every live hold, and what is declared.
pub(super) fn append_checkpoint(
    conn: &Group<'_>,
    at: Timestamp,
    live: &[ScopedHold],
) -> rusqlite::Result<i64> {
    let said = |held: &ScopedHold| {
        let what = match held.hold.bite {
            HoldEffect::Kill => "killed".to_owned(),
            HoldEffect::AtLeast(level) => format!("at least {level}"),
        };
        let scope = accounts::scope_text(&held.scope);
        format!(
            "{} {what} {}",
            held.hold.epoch,
            if scope.is_empty() { "all" } else { scope }
        )
    };
    let after = live.iter().map(said).collect::<Vec<_>>().join(", ");
    let draft = AuditDraft {
        after,
        ..AuditDraft::own(at, AuditAction::Checkpoint)
    };
    append_declaring(
        conn,
        &draft,
        Moved {
            taken: live,
            ended: &[],
        },
        &accounts::declares(conn)?,
    )
}

/// Appends one version of a drift, which the mirror then owes.
pub(super) fn append_drift(conn: &Group<'_>, drift: &Drift) -> rusqlite::Result<()> {
    let Drift {
        id,
        throttle,
        target,
        field,
        desired,
        actual,
        side,
        who,
        first_seen,
        last_seen,
        count,
        action,
        error,
    } = drift;
    let who: Option<&Who> = who.as_ref();
    let who_time = who.and_then(|who| who.time).map(time);
    let (first_seen, last_seen) = (time(*first_seen), time(*last_seen));
    let cells = [
        Cell::text("drift"),
        Cell::text(id),
        Cell::text(throttle.as_str()),
        Cell::text(target.as_str()),
        Cell::text(field),
        Cell::text(desired),
        Cell::text(actual),
        Cell::text(side.as_str()),
        Cell::maybe(who.map(|who| who.manager.as_str())),
        Cell::maybe(who.map(|who| who.operation.as_str())),
        Cell::maybe(who.map(|who| who.subresource.as_str())),
        Cell::maybe(who_time.as_deref()),
        Cell::text(&first_seen),
        Cell::text(&last_seen),
        Cell::Integer(*count),
        Cell::text(action.as_str()),
        Cell::maybe(error.as_deref()),
    ];
    conn.append(&RECONCILIATION_LOG, &cells)?;
    outbox::owe(conn, &RECONCILIATION_LOG, id, &cells)
}

/// Forgets observations of before, and clients' keys that have expired; answers how many, at most
/// twice [`PRUNED_AT_ONCE`]. All else is kept for ever.
pub(super) fn prune(conn: &Connection, states_before: &str, now: &str) -> rusqlite::Result<usize> {
    let states = conn
        .prepare_cached(
            "DELETE FROM system_state WHERE id IN (SELECT id FROM system_state WHERE at < ?1 ORDER BY at LIMIT ?2)",
        )?
        .execute(params![states_before, PRUNED_AT_ONCE])?;
    let keys = conn
        .prepare_cached(
            "DELETE FROM used_nonces WHERE (kind, livemode, account, id) IN
                 (SELECT kind, livemode, account, id FROM used_nonces WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)",
        )?
        .execute(params![now, PRUNED_AT_ONCE])?;
    Ok(states + keys)
}
