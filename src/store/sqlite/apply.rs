//! What one change does to the tables. The caller has opened a transaction and rolls back on an
//! error.
//!
//! Exactly-once is decided here: a known command or a known event makes a change do nothing, a
//! known hold is left out of it.

mod before;
mod begin;
mod holds;
mod intents;

use rusqlite::{Connection, OptionalExtension, params};

use super::group::Group;
use super::rows::Moved;
use super::write_op::WriteOp;
use super::{rows, schema, unavailable};
use crate::domain::audit::{Change, IntentId, Receipt, StateRow, ThrottleRow};
use crate::domain::payment::{PaymentEvidence, Storing};
use crate::domain::throttle::ThrottleName;
use crate::ports::{LedgerError, OutboxRow};
use crate::store::accounts;
use before::before;
use begin::begin;
use holds::ExistingHolds;

/// Why one change was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error("a newer state of throttle {0} is stored")]
    Stale(ThrottleName),
    #[error("intent {} is not open, so it cannot have an outcome", .0.0)]
    NotOpen(IntentId),
    #[error("its Idempotency-Key was used for another request")]
    OtherRequest,
    #[error("a hold neither begins nor ends without an entry that says so")]
    Unsaid,
    #[error("{0}")]
    Lacking(String),
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
}

impl From<ApplyError> for LedgerError {
    fn from(refusal: ApplyError) -> Self {
        match refusal {
            ApplyError::Stale(name) => Self::Conflict(name),
            ApplyError::NotOpen(_) | ApplyError::Unsaid | ApplyError::OtherRequest => {
                Self::Refused(refusal.to_string())
            }
            ApplyError::Lacking(_) => unavailable(refusal),
            ApplyError::Sql(error) => unavailable(error),
        }
    }
}

/// Does one piece of work.
pub(super) fn apply(conn: &Group<'_>, work: &WriteOp) -> Result<Receipt, ApplyError> {
    match work {
        WriteOp::Commit(change) => commit(conn, change),
        WriteOp::Check => {
            // A real write: taking the lock alone succeeds on a full disk, and on a file that may
            // not be written. A number that is skipped harms nobody; one that stays the same would
            // not be written.
            conn.prepare_cached("UPDATE outbox_versions SET last = last + 1")?
                .execute([])?;
            schema::lacking(conn)?.map_or(Ok(Receipt::default()), |what| {
                Err(ApplyError::Lacking(what))
            })
        }
        WriteOp::Delivered(owed) => delivered(conn, owed),
        WriteOp::CloseInterrupted(at) => intents::close_interrupted(conn, *at),
        WriteOp::Begin { at, holds } => begin(conn, *at, holds),
        WriteOp::SawJournal(ever) => {
            let ever = i64::try_from(*ever).unwrap_or(i64::MAX);
            let seen = "INSERT INTO journal_seen VALUES (1, ?1) ON CONFLICT DO UPDATE SET ever = max(ever, excluded.ever)";
            conn.prepare_cached(seen)?.execute([ever])?;
            Ok(Receipt::default())
        }
        WriteOp::Prune { states_before, now } => {
            let pruned = rows::prune(conn, &rows::time(*states_before), &rows::time(*now))?;
            Ok(Receipt {
                pruned,
                ..Receipt::default()
            })
        }
    }
}

fn commit(conn: &Group<'_>, change: &Change) -> Result<Receipt, ApplyError> {
    let standing = ExistingHolds::of(conn, change)?;
    if let Some(first) = before(conn, change, &standing)? {
        // Under a used key or not: it was here, and a journal that settles it lacks nothing.
        if let Some(once) = &change.once {
            let at = change.audit.last().map(|draft| rows::time(draft.at));
            rows::keep_command(conn, once, at.as_deref())?;
        }
        return Ok(first);
    }
    let mut receipt = Receipt::default();
    if let Some(evidence) = &change.evidence
        && !store_event(conn, evidence, &mut receipt)?
    {
        return Ok(receipt);
    }
    say(conn, change, &standing, &mut receipt)?;
    // The entry that says why is also what says when.
    let last = change
        .audit
        .last()
        .or(change.begins.last().map(|(_, draft)| draft));
    let at = last.map(|draft| rows::time(draft.at));
    for throttle in &change.throttles {
        put_throttle(conn, throttle, at.as_deref())?;
    }
    for taken in change.takes().filter(|taken| standing.is_unlisted(taken)) {
        holds::take(conn, taken)?;
    }
    for epoch in &change.holds_ended {
        holds::end(conn, epoch)?;
    }
    holds::tell_kills(conn, change)?;
    for state in &change.states {
        put_state(conn, state)?;
    }
    for drift in &change.drifts {
        rows::append_drift(conn, drift)?;
    }
    intents::open(conn, change, receipt.audit.last().copied())?;
    for intent in &change.settles {
        intents::settle(conn, intent)?;
    }
    if let Some(once) = &change.once {
        rows::keep_command(conn, once, at.as_deref())?;
    }
    if let Some(answer) = &change.answer {
        receipt.answer = Some(rows::keep_answer(
            conn,
            answer,
            receipt.audit.last().copied(),
        )?);
    }
    receipt.over = change.holds_ended.clone();
    Ok(standing.told(receipt))
}

/// Stores the event of a change; answers whether it is here for the first time. One that is known
/// makes the change do nothing, and one that is known with another meaning is an alarm.
fn store_event(
    conn: &Group<'_>,
    evidence: &PaymentEvidence,
    receipt: &mut Receipt,
) -> Result<bool, ApplyError> {
    let found = rows::store_evidence(conn, evidence)?;
    receipt.evidence = Some(found.storing());
    if let rows::EventMatch::Other(alarm) = &found {
        let alarm = rows::append_audit(conn, alarm, Moved::default())?;
        receipt.audit.push(alarm);
    }
    Ok(matches!(found, rows::EventMatch::New))
}

/// Appends the entries of a change: first those of holds that begin by their own, then its own. The
/// last one bears the other holds: which are live follows from the log alone, so it names none a
/// second time.
fn say(
    conn: &Group<'_>,
    change: &Change,
    standing: &ExistingHolds,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    if change.audit.is_empty() && !(change.holds_taken.is_empty() && change.holds_ended.is_empty())
    {
        return Err(ApplyError::Unsaid);
    }
    for (held, draft) in change
        .begins
        .iter()
        .filter(|(held, _)| standing.is_new(held))
    {
        let moved = Moved {
            taken: std::slice::from_ref(held),
            ended: &[],
        };
        receipt.audit.push(rows::append_audit(conn, draft, moved)?);
    }
    let taken: Vec<_> = change
        .holds_taken
        .iter()
        .filter(|taken| standing.is_new(taken))
        .cloned()
        .collect();
    let moved = Moved {
        taken: &taken,
        ended: &change.holds_ended,
    };
    let last = change.audit.len().saturating_sub(1);
    for (index, draft) in change.audit.iter().enumerate() {
        receipt.audit.push(if index == last {
            rows::append_declaring(conn, draft, moved, &declares(conn, change)?)?
        } else {
            rows::append_audit(conn, draft, Moved::default())?
        });
    }
    Ok(())
}

/// What a change declares anew, as its entry says it.
fn declares(
    conn: &Connection,
    change: &Change,
) -> Result<Vec<accounts::LoggedDeclaration>, ApplyError> {
    let mut all = Vec::new();
    for row in &change.throttles {
        let stored = "SELECT generation FROM system_throttle WHERE name = ?1";
        let stored = conn
            .prepare_cached(stored)?
            .query_row([row.name.as_str()], |row| row.get(0))
            .optional()?;
        let spec = row.spec.as_ref().map(rows::json).transpose()?;
        all.extend(accounts::said(row, spec.as_deref(), stored));
    }
    Ok(all)
}

/// The state of a throttle. What is declared changes with its generation alone: the loop knows what
/// is foreseen, too.
fn put_throttle(conn: &Connection, row: &ThrottleRow, at: Option<&str>) -> Result<(), ApplyError> {
    let ThrottleRow {
        name,
        declared,
        effective,
        generation,
        owner,
        spec,
        offered,
    } = row;
    let spec = spec.as_ref().map(rows::json).transpose()?;
    let offered = offered.as_ref().map(rows::json).transpose()?;
    let written = conn
        .prepare_cached(
            "INSERT INTO system_throttle (name, declared, effective, generation, updated_at, source, spec, offered)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (name) DO UPDATE SET
                 declared = CASE WHEN excluded.generation > generation THEN excluded.declared ELSE declared END,
                 effective = excluded.effective,
                 generation = excluded.generation, updated_at = COALESCE(excluded.updated_at, updated_at),
                 source = excluded.source, spec = COALESCE(excluded.spec, spec),
                 offered = COALESCE(excluded.offered, offered)
             WHERE excluded.generation >= generation",
        )?
        .execute(params![
            name.as_str(),
            declared.fraction(),
            effective.fraction(),
            generation,
            at,
            owner.as_str(),
            spec,
            offered
        ])?;
    if written == 0 {
        Err(ApplyError::Stale(row.name.clone()))
    } else {
        Ok(())
    }
}

fn put_state(conn: &Connection, row: &StateRow) -> Result<(), ApplyError> {
    conn.prepare_cached(
        "INSERT INTO system_state (at, source, throttle, state) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        rows::time(row.at),
        row.source,
        row.throttle.as_str(),
        row.state
    ])?;
    Ok(())
}

fn delivered(conn: &Connection, owed: &[OutboxRow]) -> Result<Receipt, ApplyError> {
    for row in owed {
        conn.prepare_cached(
            "DELETE FROM outbox WHERE table_name = ?1 AND key = ?2 AND version = ?3",
        )?
        .execute(params![row.table, row.key, row.version])?;
    }
    Ok(Receipt::default())
}

impl rows::EventMatch {
    fn storing(&self) -> Storing {
        match self {
            Self::New => Storing::Stored,
            Self::Same => Storing::Duplicate,
            Self::Other(_) => Storing::Conflict,
        }
    }
}
