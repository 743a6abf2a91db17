//! Events as rows: whether one is here already, by the evidence of it, and with which meaning.

use rusqlite::{OptionalExtension, params};

use super::{json, time};
use crate::domain::audit::{AuditAction, AuditDraft};
use crate::domain::payment::{EventMeaning, PaymentEvidence};
use crate::store::chain::{self, Cell, FORMAT};
use crate::store::sqlite::group::Group;
use crate::store::sqlite::schema::EVIDENCE_LEDGER;

/// What the ledger knew of an event.
pub(in crate::store::sqlite) enum EventMatch {
    /// Nothing; it is stored now.
    New,
    /// The same.
    Same,
    /// Another meaning; this is the alarm to record.
    Other(Box<AuditDraft>),
}

/// Stores an event unless it is known.
pub(in crate::store::sqlite) fn store_evidence(
    conn: &Group<'_>,
    evidence: &PaymentEvidence,
) -> rusqlite::Result<EventMatch> {
    let PaymentEvidence {
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
    // The evidence itself is what tells whether an event is here: a nonce without it must not
    // swallow the event.
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
        Some(known) if known == *meaning => return Ok(EventMatch::Same),
        Some(first) => {
            return alarm(evidence, &first).map(|alarm| EventMatch::Other(Box::new(alarm)));
        }
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
    Ok(EventMatch::New)
}

/// The audit entry for an event that was told twice with different meanings.
fn alarm(evidence: &PaymentEvidence, first: &EventMeaning) -> rusqlite::Result<AuditDraft> {
    let key = &evidence.key;
    Ok(AuditDraft {
        before: json(first)?,
        after: json(&evidence.meaning)?,
        reason: format!(
            "event {} was told again with another meaning; the first one stays",
            key.event_id
        ),
        ..AuditDraft::new(
            evidence.received_at,
            "stripe",
            AuditAction::EvidenceConflict,
        )
    })
}
