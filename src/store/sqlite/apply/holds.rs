//! Holds in their table: which a change finds there, how they begin and end.
//!
//! Each is a row for ever: an ended one never comes back. What is said of it in the log is its
//! caller's.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::ApplyError;
use crate::domain::audit::{Change, Receipt};
use crate::domain::hold::{Epoch, Scope, ScopedHold};
use crate::store::accounts;
use crate::store::sqlite::rows;

/// The holds that a change takes and that are here before it.
pub(super) struct ExistingHolds {
    /// Whether they have ended.
    known: BTreeMap<Epoch, bool>,
    /// Those that only the table lists as ended: the log, which says what holds, has no word of it.
    forged: BTreeSet<Epoch>,
}

impl ExistingHolds {
    pub(super) fn of(conn: &Connection, change: &Change) -> rusqlite::Result<Self> {
        let (mut known, mut forged) = (BTreeMap::new(), BTreeSet::new());
        for ScopedHold { hold, .. } in change.takes() {
            match has_ended(conn, &hold.epoch)? {
                Some(true) if !accounts::has_ended(conn, &hold.epoch)? => {
                    forged.insert(hold.epoch.clone());
                }
                Some(ended) => {
                    known.insert(hold.epoch.clone(), ended);
                }
                None => {}
            }
        }
        Ok(Self { known, forged })
    }

    /// Whether the log is to say that it begins.
    pub(super) fn is_new(&self, held: &ScopedHold) -> bool {
        !self.known.contains_key(&held.hold.epoch)
    }

    /// Whether the table lacks it.
    pub(super) fn is_unlisted(&self, held: &ScopedHold) -> bool {
        self.is_new(held) && !self.forged.contains(&held.hold.epoch)
    }

    /// A receipt that says it too.
    pub(super) fn told(&self, mut receipt: Receipt) -> Receipt {
        for (epoch, ended) in &self.known {
            receipt.over.extend(ended.then(|| epoch.clone()));
            receipt.known.push(epoch.clone());
        }
        receipt
    }
}

/// Whether a hold has ended; none where it was never heard of.
pub(super) fn has_ended(conn: &Connection, epoch: &Epoch) -> rusqlite::Result<Option<bool>> {
    conn.prepare_cached("SELECT ended FROM holds WHERE epoch = ?1")?
        .query_row([&epoch.0], |row| row.get(0))
        .optional()
}

/// The holds that a change ends and that are in force here until then.
pub(super) fn ending(conn: &Connection, change: &Change) -> rusqlite::Result<Vec<ScopedHold>> {
    let mut all = Vec::new();
    for epoch in &change.holds_ended {
        let live = "SELECT hold FROM holds WHERE epoch = ?1 AND ended = 0";
        let live: Option<String> = conn
            .prepare_cached(live)?
            .query_row([&epoch.0], |row| row.get(0))
            .optional()?;
        let read = |text: String| {
            serde_json::from_str(&text)
                .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, e.into()))
        };
        all.extend(live.map(read).transpose()?);
    }
    Ok(all)
}

/// Brings what `system_throttle` says of kills in line with the holds, for every throttle that a
/// change can have touched.
pub(super) fn tell_kills(conn: &Connection, change: &Change) -> rusqlite::Result<()> {
    let mut names: BTreeSet<&str> = change
        .throttles
        .iter()
        .map(|row| row.name.as_str())
        .collect();
    for taken in change.takes() {
        match &taken.scope {
            Scope::All => return tell_kills_of(conn, None),
            Scope::One(name) => names.insert(name.as_str()),
        };
    }
    if !change.holds_ended.is_empty() {
        return tell_kills_of(conn, None);
    }
    names
        .into_iter()
        .try_for_each(|name| tell_kills_of(conn, Some(name)))
}

/// The same for one throttle, or for all: the oldest kill that covers a throttle is its epoch.
pub(super) fn tell_kills_of(conn: &Connection, name: Option<&str>) -> rusqlite::Result<()> {
    let which = if name.is_some() {
        "WHERE name = ?1"
    } else {
        ""
    };
    let sql = format!(
        "UPDATE system_throttle SET epoch = kill.epoch, killed = kill.epoch IS NOT NULL
         FROM (SELECT name, (SELECT epoch FROM holds WHERE ended = 0 AND scope IN ('', name)
                   AND json_extract(hold, '$.hold.bite') = 'kill' ORDER BY taken LIMIT 1) AS epoch
               FROM system_throttle {which}) AS kill
         WHERE kill.name = system_throttle.name AND kill.epoch IS NOT system_throttle.epoch"
    );
    conn.prepare_cached(&sql)?.execute(params_from_iter(name))?;
    Ok(())
}

pub(super) fn take(conn: &Connection, taken: &ScopedHold) -> Result<(), ApplyError> {
    let scope = accounts::scope_text(&taken.scope);
    let insert = "INSERT INTO holds (epoch, scope, hold, ended) VALUES (?1, ?2, ?3, 0)";
    let rows = conn.prepare_cached(insert)?.execute(params![
        taken.hold.epoch.0,
        scope,
        rows::json(taken)?
    ])?;
    if rows == 1 {
        Ok(())
    } else {
        Err(rusqlite::Error::StatementChangedRows(rows).into())
    }
}

/// Ends a hold. One that was never heard of is remembered as ended too: should it still arrive, it
/// must not bite.
pub(super) fn end(conn: &Connection, epoch: &Epoch) -> Result<(), ApplyError> {
    conn.prepare_cached(
        "INSERT INTO holds (epoch, scope, hold, ended) VALUES (?1, '', NULL, 1)
         ON CONFLICT (epoch) DO UPDATE SET ended = 1",
    )?
    .execute([&epoch.0])?;
    Ok(())
}
