//! What one change does to the tables. The caller has opened a transaction and rolls back on an error.
//!
//! Exactly-once is decided here: a known command or a known event makes a change do nothing, a known hold is left out of it.

mod before;
mod holds;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::group::Group;
use super::rows::Moved;
use super::writer::Work;
use super::{rows, unavailable};
use crate::domain::audit::{AuditDraft, Change, IntentId, Receipt, ThrottleRow};
use crate::domain::hold::{Hold, ScopedHold, Source};
use crate::domain::payment::Storing;
use crate::domain::throttle::ThrottleName;
use crate::ports::{LedgerError, Owed};
use crate::store::{accounts, schema};
use before::before;
use holds::Standing;

/// Why one change was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
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

impl From<Refusal> for LedgerError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Stale(name) => Self::Conflict(name),
            Refusal::NotOpen(_) | Refusal::Unsaid | Refusal::OtherRequest => {
                Self::Refused(refusal.to_string())
            }
            Refusal::Lacking(_) => unavailable(refusal),
            Refusal::Sql(error) => unavailable(error),
        }
    }
}

/// Does one piece of work.
pub(super) fn apply(conn: &Group<'_>, work: &Work) -> Result<Receipt, Refusal> {
    match work {
        Work::Commit(change) => commit(conn, change),
        Work::Check => {
            // A real write: taking the lock alone succeeds on a full disk, and on a file that may not be written.
            // A number that is skipped harms nobody; one that stays the same would not be written.
            conn.prepare_cached("UPDATE outbox_versions SET last = last + 1")?
                .execute([])?;
            schema::lacking(conn)?
                .map_or(Ok(Receipt::default()), |what| Err(Refusal::Lacking(what)))
        }
        Work::Delivered(owed) => delivered(conn, owed),
        Work::CloseInterrupted(at) => close_interrupted(conn, *at),
        Work::Begin { at, holds } => begin(conn, *at, holds),
        Work::SawJournal(ever) => {
            let ever = i64::try_from(*ever).unwrap_or(i64::MAX);
            let seen = "INSERT INTO journal_seen VALUES (1, ?1) ON CONFLICT DO UPDATE SET ever = max(ever, excluded.ever)";
            conn.prepare_cached(seen)?.execute([ever])?;
            Ok(Receipt::default())
        }
        Work::Prune { states_before, now } => {
            let pruned = rows::prune(conn, &rows::time(*states_before), &rows::time(*now))?;
            Ok(Receipt {
                pruned,
                ..Receipt::default()
            })
        }
    }
}

fn commit(conn: &Group<'_>, change: &Change) -> Result<Receipt, Refusal> {
    let standing = Standing::of(conn, change)?;
    if let Some(first) = before(conn, change, &standing)? {
        // Under a used key or not: it was here, and a journal that settles it lacks nothing.
        if let Some(once) = &change.once {
            rows::keep_command(
                conn,
                once,
                change
                    .audit
                    .last()
                    .map(|draft| rows::time(draft.at))
                    .as_deref(),
            )?;
        }
        return Ok(first);
    }
    let mut receipt = Receipt::default();
    if let Some(evidence) = &change.evidence {
        let found = rows::store_evidence(conn, evidence)?;
        receipt.evidence = Some(found.storing());
        match found {
            rows::Found::New => {}
            rows::Found::Same => return Ok(receipt),
            rows::Found::Other(alarm) => {
                receipt
                    .audit
                    .push(rows::append_audit(conn, &alarm, Moved::default())?);
                return Ok(receipt);
            }
        }
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
        conn.prepare_cached(
            "INSERT INTO system_state (at, source, throttle, state) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            rows::time(state.at),
            state.source,
            state.throttle.as_str(),
            state.state
        ])?;
    }
    for drift in &change.drifts {
        rows::append_drift(conn, drift)?;
    }
    open(conn, change, receipt.audit.last().copied())?;
    for intent in &change.settles {
        settle(conn, intent)?;
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

/// Appends the entries of a change: first those of holds that begin by their own, then its own. The last one bears the other
/// holds: which are live follows from the log alone, so it names none a second time.
fn say(
    conn: &Group<'_>,
    change: &Change,
    standing: &Standing,
    receipt: &mut Receipt,
) -> Result<(), Refusal> {
    if change.audit.is_empty() && !(change.holds_taken.is_empty() && change.holds_ended.is_empty())
    {
        return Err(Refusal::Unsaid);
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
fn declares(conn: &Connection, change: &Change) -> Result<Vec<accounts::Said>, Refusal> {
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

/// The state of a throttle. What is declared changes with its generation alone: the loop knows what is foreseen, too.
fn put_throttle(conn: &Connection, row: &ThrottleRow, at: Option<&str>) -> Result<(), Refusal> {
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
        Err(Refusal::Stale(row.name.clone()))
    } else {
        Ok(())
    }
}

fn open(conn: &Connection, change: &Change, audit_seq: Option<i64>) -> Result<(), Refusal> {
    let throttle = change
        .audit
        .last()
        .map_or("", |draft| draft.throttle.as_str());
    for intent in &change.opens {
        conn.prepare_cached("INSERT INTO intents (id, throttle, audit_seq) VALUES (?1, ?2, ?3)")?
            .execute(params![intent.0, throttle, audit_seq])?;
    }
    Ok(())
}

fn settle(conn: &Connection, intent: &IntentId) -> Result<(), Refusal> {
    let closed = conn
        .prepare_cached("DELETE FROM intents WHERE id = ?1")?
        .execute([&intent.0])?;
    if closed == 0 {
        Err(Refusal::NotOpen(intent.clone()))
    } else {
        Ok(())
    }
}

/// Records what a process starts from: what is in force by the record now, not by what its caller read before. A hold that
/// nobody accounts for gets an entry that says so, once; what has ended meanwhile does not begin again.
fn begin(conn: &Group<'_>, at: Timestamp, holds: &[ScopedHold]) -> Result<Receipt, Refusal> {
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
) -> Result<(), Refusal> {
    let draft = AuditDraft {
        throttle: accounts::scope_text(&held.scope).to_owned(),
        after: format!("held {}", held.hold.epoch),
        operator: held.hold.operator.clone(),
        reason: format!("no record tells that it ended: {}", held.hold.reason),
        ..AuditDraft::new(at, "echo-phoenix", "unaccounted")
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

fn close_interrupted(conn: &Group<'_>, at: Timestamp) -> Result<Receipt, Refusal> {
    let mut receipt = Receipt::default();
    let mut oldest =
        conn.prepare_cached("SELECT id, throttle, audit_seq FROM intents ORDER BY rowid LIMIT 1")?;
    let next =
        |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?));
    while let Some((id, throttle, opened)) = oldest.query_row([], next).optional()? {
        let intent = IntentId(id);
        let entry = opened.map_or_else(String::new, |seq| format!(" of audit entry {seq}"));
        let draft = AuditDraft {
            throttle,
            before: "open".to_owned(),
            after: "interrupted".to_owned(),
            reason: format!(
                "intent {}{entry} had no outcome when the process ended",
                intent.0
            ),
            ..AuditDraft::new(at, "echo-phoenix", "intent_interrupted")
        };
        receipt
            .audit
            .push(rows::append_audit(conn, &draft, Moved::default())?);
        settle(conn, &intent)?;
    }
    Ok(receipt)
}

fn delivered(conn: &Connection, owed: &[Owed]) -> Result<Receipt, Refusal> {
    for row in owed {
        conn.prepare_cached(
            "DELETE FROM outbox WHERE table_name = ?1 AND key = ?2 AND version = ?3",
        )?
        .execute(params![row.table, row.key, row.version])?;
    }
    Ok(Receipt::default())
}

impl rows::Found {
    fn storing(&self) -> Storing {
        match self {
            Self::New => Storing::Stored,
            Self::Same => Storing::Duplicate,
            Self::Other(_) => Storing::Conflict,
        }
    }
}
