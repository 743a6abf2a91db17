//! What the audit log says is declared, held against the table of throttles, which no chain covers.
//!
//! An entry says so where it brings a generation or a specification. A level that is safer than the
//! one declared, of the same generation, needs no entry: tightening waits for nobody. Only reads.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::Accounts;
use crate::domain::audit::ThrottleRow;
use crate::domain::level::Level;
use crate::domain::throttle::Owner;
use crate::store::chain;

/// The format of entries that say it.
pub(super) const FORMAT: i64 = 3;
/// What a level may differ by from being written as text.
const HAIR: f64 = 1e-9;

/// What is declared of one throttle, as an entry says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct LoggedDeclaration {
    name: String,
    declared: f64,
    generation: i64,
    /// Digest of its specification, empty where it has none; absent: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spec: Option<String>,
}

impl LoggedDeclaration {
    /// Counts where nothing was said before.
    pub(super) fn unless_said(self, known: &mut BTreeMap<String, Self>) {
        known.entry(self.name.clone()).or_insert(self);
    }

    /// Takes the place of what was said before.
    pub(super) fn follows(mut self, known: &mut BTreeMap<String, Self>) {
        let before = known.get(&self.name).and_then(|before| before.spec.clone());
        self.spec = self.spec.or(before).or_else(|| Some(String::new()));
        known.insert(self.name.clone(), self);
    }
}

/// What an entry has to say of a row that is written, `stored` being the generation of the one
/// before it. A cluster's throttles are declared by its API: nothing is said of them.
pub(in crate::store) fn said(
    row: &ThrottleRow,
    spec: Option<&str>,
    stored: Option<i64>,
) -> Option<LoggedDeclaration> {
    let brings = spec.is_some() || row.generation > stored.unwrap_or_default();
    (brings && row.owner != Owner::Cluster).then(|| LoggedDeclaration {
        name: row.name.to_string(),
        declared: row.declared.fraction(),
        generation: row.generation,
        spec: spec.map(digest),
    })
}

/// A throttle whose row does not follow from the log, and what the log says in its place. A
/// generation of its own is no fault, and explains no level either.
#[derive(Clone, Debug, PartialEq)]
pub struct Unexplained {
    /// Its name.
    pub name: String,
    /// The level that was declared last.
    pub level: Level,
    /// The generation of it.
    pub generation: i64,
    /// Digest of the specification that was declared last, empty for none; absent where the row has
    /// that one.
    pub spec: Option<String>,
}

impl Unexplained {
    /// Whether this is the specification that was declared.
    pub(in crate::store) fn is(&self, spec: &crate::domain::throttle::Spec) -> bool {
        let text = serde_json::to_string(spec).unwrap_or_default();
        self.spec
            .as_ref()
            .is_some_and(|known| *known == digest(&text))
    }
}

fn digest(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        chain::digest(text.as_bytes())
    }
}

/// The rows as they stand. Those of a cluster follow its API and no entry.
pub(super) fn standing(conn: &Connection) -> rusqlite::Result<Vec<LoggedDeclaration>> {
    Ok(rows(conn)?
        .into_iter()
        .filter(|(_, owner)| Owner::of_word(owner) != Owner::Cluster)
        .map(|(said, _)| said)
        .collect())
}

fn rows(conn: &Connection) -> rusqlite::Result<Vec<(LoggedDeclaration, String)>> {
    let all = "SELECT name, declared, generation, coalesce(spec, ''), source FROM system_throttle ORDER BY name";
    let mut all = conn.prepare_cached(all)?;
    let row = |row: &rusqlite::Row<'_>| {
        let spec: String = row.get(3)?;
        let said = LoggedDeclaration {
            name: row.get(0)?,
            declared: row.get(1)?,
            generation: row.get(2)?,
            spec: Some(digest(&spec)),
        };
        Ok((said, row.get(4)?))
    };
    all.query_map([], row)?.collect()
}

/// Adds what does not follow.
pub(super) fn hold_against(
    conn: &Connection,
    log: &BTreeMap<String, LoggedDeclaration>,
    accounts: &mut Accounts,
) -> rusqlite::Result<()> {
    let found = rows(conn)?;
    for (row, _) in &found {
        let name = &row.name;
        // What the ledger never heard of, a start without it may have brought: the next checkpoint
        // lists it.
        let Some(by_log) = log.get(name) else {
            continue;
        };
        // A number may have been left out; what it would explain is the level.
        let renumbered = row.generation != by_log.generation;
        let level = row.declared < by_log.declared - HAIR;
        let spec = by_log.spec != row.spec;
        if level {
            accounts.faults.push(format!(
                "system_throttle: row {name} declares {} (generation {}), and the audit log {} (generation {})",
                row.declared, row.generation, by_log.declared, by_log.generation
            ));
        }
        if spec {
            accounts.faults.push(format!(
                "system_throttle: row {name} has a specification that no audit entry declares"
            ));
        }
        if level || spec || renumbered {
            let spec = by_log.spec.clone().filter(|_| spec);
            let level = Level::new(by_log.declared).unwrap_or(Level::STOP);
            let (name, generation) = (name.clone(), by_log.generation);
            accounts.unexplained.push(Unexplained {
                name,
                level,
                generation,
                spec,
            });
        }
    }
    for gone in log
        .keys()
        .filter(|name| !found.iter().any(|(row, _)| row.name == **name))
    {
        accounts.faults.push(format!(
            "system_throttle: the row of {gone}, which was declared, is gone"
        ));
    }
    Ok(())
}
