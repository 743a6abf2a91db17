//! What the mirror is owed: the newest version of each row, until it has it. Knows nothing of the
//! mirror's format.

use rusqlite::{Connection, params};

use super::json;
use crate::ports::Outbox;
use crate::store::chain::Cell;
use crate::store::sqlite::schema::Chained;

/// Most rows the mirror may be owed; ten times what a free base holds, some 10 MB. Whoever turns
/// the mirror on late, or leaves it out of reach for long, finds the newest ones there; the ledger
/// has all.
const OUTBOX_LIMIT: i64 = 10_000;

/// The mirror owes this row. A newer version takes its elder's place in the line, so that a row
/// which changes all the time is not put off for ever. Versions are never used twice: a late word
/// that version 1 was delivered must not settle a debt made since.
pub(super) fn owe(
    conn: &Connection,
    table: &Chained,
    key: &str,
    cells: &[Cell<'_>],
) -> rusqlite::Result<()> {
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
pub(in crate::store::sqlite) fn outbox(conn: &Connection) -> rusqlite::Result<Outbox> {
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
