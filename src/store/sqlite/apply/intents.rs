//! Intents in their table: each is open until it has its one outcome.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::ApplyError;
use crate::domain::audit::{AuditAction, AuditDraft, Change, IntentId, Receipt};
use crate::store::sqlite::group::Group;
use crate::store::sqlite::rows::{self, Moved};

/// Opens the intents of a change, whose entry has this number.
pub(super) fn open(
    conn: &Connection,
    change: &Change,
    audit_seq: Option<i64>,
) -> Result<(), ApplyError> {
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

/// Closes one that has its outcome.
pub(super) fn settle(conn: &Connection, intent: &IntentId) -> Result<(), ApplyError> {
    let closed = conn
        .prepare_cached("DELETE FROM intents WHERE id = ?1")?
        .execute([&intent.0])?;
    if closed == 0 {
        Err(ApplyError::NotOpen(intent.clone()))
    } else {
        Ok(())
    }
}

/// Gives every intent that a process before left open its one outcome.
pub(super) fn close_interrupted(conn: &Group<'_>, at: Timestamp) -> Result<Receipt, ApplyError> {
    let mut receipt = Receipt::default();
    let mut oldest =
        conn.prepare_cached("SELECT id, throttle, audit_seq FROM intents ORDER BY rowid LIMIT 1")?;
    let next = |row: &rusqlite::Row<'_>| {
        Ok((
            row.get(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, Option<i64>>(2)?,
        ))
    };
    while let Some((id, throttle, opened)) = oldest.query_row([], next).optional()? {
        let intent = IntentId(id);
        let entry = opened.map_or_else(String::new, |seq| format!(" of audit entry {seq}"));
        let draft = AuditDraft {
            before: "open".to_owned(),
            after: "interrupted".to_owned(),
            reason: format!(
                "intent {}{entry} had no outcome when the process ended",
                intent.0
            ),
            ..AuditDraft::own(at, AuditAction::IntentInterrupted).on(throttle)
        };
        receipt
            .audit
            .push(rows::append_audit(conn, &draft, Moved::default())?);
        settle(conn, &intent)?;
    }
    Ok(receipt)
}
