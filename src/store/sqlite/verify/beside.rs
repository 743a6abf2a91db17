//! What no chain covers: the nonces beside the evidence, and the pages of the file.

use rusqlite::Connection;

use crate::store::chain::{self, Cell, FORMAT};
use crate::store::sqlite::walk::VerifyError;

/// Holds nonces of events against evidence, both ways: each event has one, which says what the
/// event meant.
pub(super) fn nonces(conn: &Connection) -> Result<(), VerifyError> {
    let mut pairs = conn.prepare(
        "SELECT e.seq, e.event_id, e.kind, e.created, e.object_id, n.digest
         FROM evidence_ledger e LEFT JOIN used_nonces n
             ON n.kind = 'event' AND n.livemode = e.livemode AND n.account = e.account AND n.id = e.event_id
         ORDER BY e.seq",
    )?;
    let mut pairs = pairs.query([])?;
    while let Some(row) = pairs.next()? {
        let (seq, event): (i64, String) = (row.get(0)?, row.get(1)?);
        let (kind, created, object): (String, i64, String) =
            (row.get(2)?, row.get(3)?, row.get(4)?);
        let cells = [
            Cell::text(&kind),
            Cell::Integer(created),
            Cell::text(&object),
        ];
        let meaning = chain::digest(&chain::encode(FORMAT, "meaning", &cells));
        match row.get::<_, Option<String>>(5)? {
            None => {
                return Err(bad(format!(
                    "evidence_ledger: row {seq} ({event}) has no row in used_nonces"
                )));
            }
            Some(digest) if digest != meaning => {
                return Err(bad(format!(
                    "used_nonces: the row of event {event} does not say what the event meant"
                )));
            }
            Some(_) => {}
        }
    }
    let mut strays = conn.prepare(
        "SELECT id FROM used_nonces n WHERE kind = 'event' AND NOT EXISTS
             (SELECT 1 FROM evidence_ledger e
              WHERE e.livemode = n.livemode AND e.account = n.account AND e.event_id = n.id) LIMIT 1",
    )?;
    let mut strays = strays.query([])?;
    match strays.next()? {
        Some(row) => Err(bad(format!(
            "used_nonces: event {} was never stored",
            row.get::<_, String>(0)?
        ))),
        None => Ok(()),
    }
}

/// Whether SQLite finds its own file whole.
pub(super) fn pages(conn: &Connection) -> Result<(), VerifyError> {
    let found: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        Ok(())
    } else {
        Err(bad(format!("the file is damaged: {found}")))
    }
}

fn bad(what: String) -> VerifyError {
    VerifyError::Bad(what)
}
