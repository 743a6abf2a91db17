//! Domain values as rows: the chained tables, and what the mirror owes of them.
//!
//! Knows columns and their order; decides nothing but whether an event is one that is already here.

use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::group::{Group, head};
use crate::domain::audit::{Answer, AuditDraft, ClientKey};
use crate::domain::drift::{Drift, Who};
use crate::domain::hold::{Bite, Epoch, ScopedHold};
use crate::domain::payment::{EventMeaning, Evidence};
use crate::store::accounts;
use crate::store::chain::{self, Cell, FORMAT};
use crate::store::schema::{AUDIT_LOG, CHAINED, Chained, EVIDENCE_LEDGER, RECONCILIATION_LOG};
use crate::store::{Head, Outbox};

/// Rows that are forgotten in one piece of work: some ten milliseconds, in which commands wait.
const PRUNED_AT_ONCE: i64 = 2_000;

/// Most rows the mirror may be owed; ten times what a free base holds, some 10 MB. Whoever turns the mirror on late, or
/// leaves it out of reach for long, finds the newest ones there; the ledger has all.
pub(in crate::store) const OUTBOX_LIMIT: i64 = 10_000;

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
pub(super) fn heads(conn: &Connection) -> rusqlite::Result<Vec<Head>> {
    let tx = conn.unchecked_transaction()?;
    heads_within(&tx)
}

/// The same within a transaction.
pub(in crate::store) fn heads_within(conn: &Connection) -> rusqlite::Result<Vec<Head>> {
    let one = |table: &&Chained| {
        head(conn, table).map(|(seq, hash)| Head {
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
    declares: &[accounts::Said],
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
        &at,
        actor,
        action,
        throttle,
        before,
        after,
        reason,
        binding_signal,
        request_id,
        operator,
    ];
    let texts = who.into_iter().chain([&taken, &ended, &declares]);
    let seq = conn.append(
        &AUDIT_LOG,
        &texts.map(|text| Cell::text(text)).collect::<Vec<_>>(),
    )?;
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
            Bite::Kill => "killed".to_owned(),
            Bite::AtLeast(level) => format!("at least {level}"),
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
        ..AuditDraft::new(at, "echo-phoenix", accounts::CHECKPOINT)
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
        Cell::text(target),
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
    owe(conn, &RECONCILIATION_LOG, id, &cells)
}

/// The mirror owes this row. A newer version takes its elder's place in the line, so that a row which changes all
/// the time is not put off for ever. Versions are never used twice: a late word that version 1 was delivered must
/// not settle a debt made since.
fn owe(conn: &Connection, table: &Chained, key: &str, cells: &[Cell<'_>]) -> rusqlite::Result<()> {
    let version: i64 = conn
        .prepare_cached("UPDATE outbox_versions SET last = last + 1 RETURNING last")?
        .query_row([], |row| row.get(0))?;
    let row: serde_json::Map<String, serde_json::Value> = table
        .columns
        .iter()
        .zip(cells)
        .map(|(name, cell)| ((*name).to_owned(), mirrored(cell)))
        .collect();
    conn.prepare_cached(
        "INSERT INTO outbox (table_name, key, version, owed_since, row) VALUES (?1, ?2, ?3, ?3, ?4)
         ON CONFLICT (table_name, key) DO UPDATE SET version = excluded.version, row = excluded.row",
    )?
    .execute(params![table.name, key, version, json(&row)?])?;
    let beyond = outbox(conn)?.rows - OUTBOX_LIMIT;
    if beyond > 0 {
        conn.prepare_cached(
            "DELETE FROM outbox WHERE (table_name, key) IN
                 (SELECT table_name, key FROM outbox ORDER BY owed_since LIMIT ?1)",
        )?
        .execute([beyond])?;
        conn.prepare_cached("UPDATE outbox_versions SET dropped = dropped + ?1")?
            .execute([beyond])?;
    }
    Ok(())
}

/// How much the mirror is owed, and how much it never will be.
pub(super) fn outbox(conn: &Connection) -> rusqlite::Result<Outbox> {
    conn.prepare_cached("SELECT (SELECT COUNT(*) FROM outbox), dropped FROM outbox_versions")?
        .query_row([], |row| {
            Ok(Outbox {
                rows: row.get(0)?,
                dropped: row.get(1)?,
            })
        })
}

fn mirrored(cell: &Cell<'_>) -> serde_json::Value {
    match cell {
        Cell::Null => serde_json::Value::Null,
        Cell::Integer(number) => (*number).into(),
        Cell::Text(text) => String::from_utf8_lossy(text).into(),
        Cell::Blob(blob) => hex::encode(blob).into(),
    }
}

/// What the ledger knew of an event.
pub(super) enum Found {
    /// Nothing; it is stored now.
    New,
    /// The same.
    Same,
    /// Another meaning; this is the alarm to record.
    Other(Box<AuditDraft>),
}

/// Stores an event unless it is known.
pub(super) fn store_evidence(conn: &Group<'_>, evidence: &Evidence) -> rusqlite::Result<Found> {
    let Evidence {
        key,
        meaning,
        amount,
        currency,
        raw,
        signature,
        received_at,
    } = evidence;
    let digest = chain::digest(&chain::encode(
        FORMAT,
        "meaning",
        &[
            Cell::text(&meaning.kind),
            Cell::Integer(meaning.created),
            Cell::text(&meaning.object_id),
        ],
    ));
    // The evidence itself is what tells whether an event is here: a nonce without it must not swallow the event.
    let known = conn
        .prepare_cached(
            "SELECT kind, created, object_id FROM evidence_ledger
             WHERE livemode = ?1 AND account = ?2 AND event_id = ?3",
        )?
        .query_row(params![key.livemode, key.account, key.event_id], |row| {
            Ok(EventMeaning {
                kind: row.get(0)?,
                created: row.get(1)?,
                object_id: row.get(2)?,
            })
        })
        .optional()?;
    match known {
        Some(known) if known == *meaning => return Ok(Found::Same),
        Some(first) => return alarm(evidence, &first).map(|alarm| Found::Other(Box::new(alarm))),
        None => {}
    }
    let received = time(*received_at);
    conn.prepare_cached(
        "INSERT INTO used_nonces (kind, livemode, account, id, digest, used_at) VALUES ('event', ?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET digest = excluded.digest, used_at = excluded.used_at",
    )?
    .execute(params![key.livemode, key.account, key.event_id, digest, received])?;
    let raw_digest = chain::digest(raw);
    let cells = [
        Cell::Integer(key.livemode.into()),
        Cell::text(&key.account),
        Cell::text(&key.event_id),
        Cell::text(&meaning.kind),
        Cell::Integer(meaning.created),
        Cell::text(&meaning.object_id),
        amount.map_or(Cell::Null, Cell::Integer),
        Cell::maybe(currency.as_deref()),
        Cell::Blob(raw),
        Cell::text(&raw_digest),
        Cell::text(signature),
        Cell::text(&received),
    ];
    conn.append(&EVIDENCE_LEDGER, &cells)?;
    Ok(Found::New)
}

/// The audit entry for an event that was told twice with different meanings.
fn alarm(evidence: &Evidence, first: &EventMeaning) -> rusqlite::Result<AuditDraft> {
    let key = &evidence.key;
    Ok(AuditDraft {
        before: json(first)?,
        after: json(&evidence.meaning)?,
        reason: format!(
            "event {} was told again with another meaning; the first one stays",
            key.event_id
        ),
        ..AuditDraft::new(evidence.received_at, "stripe", "evidence_conflict")
    })
}

/// Forgets observations of before, and clients' keys that have expired; answers how many, at most twice
/// [`PRUNED_AT_ONCE`]. All else is kept for ever.
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

/// What a client's key was answered; one that has expired may still be here. What was kept without its caller counts for
/// the same request alone, and a refusal that was kept not at all: versions before this one kept both.
pub(super) fn answered(conn: &Connection, key: &ClientKey) -> rusqlite::Result<Option<Answer>> {
    let text: Option<String> = conn
        .prepare_cached(
            "SELECT answer FROM used_nonces WHERE kind = 'client' AND livemode = 0 AND id = ?1
                 AND (account = ?2 OR (account = '' AND digest = ?3)) ORDER BY account = ''",
        )?
        .query_row(params![key.key, owner(key), key.digest], |row| row.get(0))
        .optional()?;
    let read = |text: String| {
        serde_json::from_str(&text)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, e.into()))
    };
    text.map(read)
        .transpose()
        .map(|found: Option<Answer>| found.filter(Answer::is_success))
}

/// Whose a client's key is, as a row names it: no path holds a space.
fn owner(key: &ClientKey) -> String {
    if key.caller.is_empty() {
        String::new()
    } else {
        format!("{} {}", key.route, key.caller)
    }
}

/// What a client was told before the ledger knew that the command had entered it: a retry hears the same.
pub(super) fn told(conn: &Connection, answer: &Answer) -> rusqlite::Result<()> {
    let Some(key) = &answer.key else {
        return Ok(());
    };
    conn.prepare_cached(
        "UPDATE used_nonces SET answer = ?4
         WHERE kind = 'client' AND livemode = 0 AND account = ?1 AND id = ?2 AND digest = ?3",
    )?
    .execute(params![owner(key), key.key, key.digest, json(answer)?])?;
    Ok(())
}

/// Whether a command was here before.
pub(super) fn knows_command(conn: &Connection, once: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT 1 FROM used_nonces WHERE kind = 'command' AND livemode = 0 AND account = '' AND id = ?1",
    )?
    .exists([once])
}

/// Remembers that a command was here, for ever: nobody knows how old a journal can get.
pub(super) fn keep_command(
    conn: &Connection,
    once: &str,
    at: Option<&str>,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO used_nonces (kind, livemode, account, id, digest, used_at) VALUES ('command', 0, '', ?1, '', ?2)
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![once, at.unwrap_or_default()])?;
    Ok(())
}

/// The answer with the number of its audit entry; kept, if the client gave a key, in the place of one that has
/// expired, or that the same request got before it was done again: a retry hears of what holds now.
pub(super) fn keep_answer(
    conn: &Connection,
    answer: &Answer,
    audit: Option<i64>,
) -> rusqlite::Result<Answer> {
    let mut kept = answer.clone();
    // What was said to be pending had no number when it was said, and a retry hears the same.
    let pending = kept
        .body
        .get("audit")
        .is_some_and(|audit| audit == "pending");
    if let Some(seq) = audit.filter(|_| !pending) {
        kept.set("audit_id", seq);
    }
    kept.write();
    if let Some(key) = kept.key.as_ref().filter(|_| kept.is_success()) {
        conn.prepare_cached(
            "INSERT INTO used_nonces (kind, livemode, account, id, digest, used_at, expires_at, answer)
             VALUES ('client', 0, ?6, ?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET digest = excluded.digest, used_at = excluded.used_at,
                 expires_at = excluded.expires_at, answer = excluded.answer
             WHERE used_nonces.expires_at <= excluded.used_at OR used_nonces.digest = excluded.digest",
        )?
        .execute(params![
            key.key,
            key.digest,
            time(kept.at),
            time(key.expires_at),
            json(&kept)?,
            owner(key)
        ])?;
    }
    Ok(kept)
}
