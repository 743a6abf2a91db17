//! The transaction of one group of changes: its connection, and where each chained table ends while
//! nobody else can write.
//!
//! Lives for one group: another process may append before the next. What is rolled back must be
//! forgotten here too.

use std::cell::RefCell;
use std::ops::Deref;

use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::schema::Chained;
use crate::store::chain::{self, Cell, GENESIS};

/// The transaction that is open on a connection.
pub(super) struct Group<'a> {
    conn: &'a Connection,
    /// Table, and number and hash of its newest row.
    ends: RefCell<Vec<(&'static str, i64, String)>>,
}

impl<'a> Group<'a> {
    pub(super) fn new(conn: &'a Connection) -> Self {
        Self {
            conn,
            ends: RefCell::default(),
        }
    }

    /// Something was rolled back: what was appended may be gone.
    pub(super) fn forget(&self) {
        self.ends.borrow_mut().clear();
    }

    /// Appends the next row of a chained table and gives its number.
    pub(super) fn append(&self, table: &Chained, cells: &[Cell<'_>]) -> rusqlite::Result<i64> {
        let mut ends = self.ends.borrow_mut();
        let known = ends.iter().position(|(name, ..)| *name == table.name);
        let index = match known {
            Some(index) => index,
            None => {
                let (seq, hash) = head(self.conn, table)?;
                ends.push((table.name, seq, hash));
                ends.len() - 1
            }
        };
        let (_, last, prev) = &mut ends[index];
        let seq = *last + 1;
        let format = table.format();
        let hash = chain::hash(prev, seq, &chain::encode(format, table.name, cells));
        let begins = [Cell::Integer(seq), Cell::Integer(format)];
        let hashes = [Cell::text(prev), Cell::text(&hash)];
        let values = begins.iter().chain(cells).chain(&hashes);
        // A trigger that is none of ours can leave a row out without an error.
        let rows = self
            .prepare_cached(&table.insert)?
            .execute(params_from_iter(values))?;
        if rows != 1 {
            return Err(rusqlite::Error::StatementChangedRows(rows));
        }
        (*last, *prev) = (seq, hash);
        Ok(seq)
    }
}

impl Deref for Group<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn
    }
}

/// Number and hash of a table's newest row; (0, 64 zeros) before the first.
pub(super) fn head(conn: &Connection, table: &Chained) -> rusqlite::Result<(i64, String)> {
    let newest = conn
        .prepare_cached(&table.head)?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(newest.unwrap_or_else(|| (0, GENESIS.to_owned())))
}

/// Executes one statement that is kept prepared.
pub(super) fn run_sql(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(drop)
}
