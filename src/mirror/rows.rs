//! A row of the ledger's outbox becomes a record of Airtable's: declared keys only, cells by field
//! id.
//!
//! Pure. Knows nothing of when rows are sent, nor of requests.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::domain::text::shown;

use super::tables::{Diff, FieldKind, FoundTable, MirrorTable, diff};

/// Where the cells of one table go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    table_id: String,
    key_field_id: String,
    /// Key in the row, what it holds, and the field's id.
    columns: Vec<(&'static str, FieldKind, String)>,
}

/// Why a row cannot be sent at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the row is no JSON object")]
pub struct BadRow;

impl Layout {
    /// The layout of a declared table in a base; if anything of it is missing or of another type,
    /// what.
    pub fn learn(table: &MirrorTable, found: &[FoundTable]) -> Result<Self, Diff> {
        let lacking = diff(std::slice::from_ref(table), found);
        if !lacking.changes.is_empty() || !lacking.conflicts.is_empty() {
            return Err(lacking);
        }
        let there = found
            .iter()
            .find(|t| t.name == table.name)
            .ok_or_else(Diff::default)?;
        let id_of = |name: &str| {
            there
                .fields
                .iter()
                .find(|f| f.name == name)
                .map(|f| f.id.clone())
        };
        let columns = table
            .fields
            .iter()
            .filter_map(|f| Some((f.name, f.kind, id_of(f.name)?)))
            .collect();
        let key_field_id = id_of(table.key.name).ok_or_else(Diff::default)?;
        Ok(Self {
            table_id: there.id.clone(),
            key_field_id,
            columns,
        })
    }

    /// The table's id.
    pub fn table_id(&self) -> &str {
        &self.table_id
    }

    /// Id of the field that tells records apart.
    pub fn key_field_id(&self) -> &str {
        &self.key_field_id
    }

    /// The record for one row. Keys that are not declared stay at home, whatever the ledger has
    /// added to its rows; a null empties the cell, so that a newer version never keeps an older
    /// one's values.
    pub fn record(&self, key: &str, row: &str) -> Result<Map<String, Value>, BadRow> {
        let Ok(Value::Object(row)) = serde_json::from_str(row) else {
            return Err(BadRow);
        };
        let mut record = Map::new();
        record.insert(self.key_field_id.clone(), Value::from(key));
        for (name, kind, field_id) in &self.columns {
            if let Some(value) = row.get(*name) {
                record.insert(field_id.clone(), cell(*kind, value));
            }
        }
        Ok(record)
    }
}

/// A value as Airtable keeps it: moments have milliseconds there. What is no moment is sent as it
/// is, for Airtable to refuse with a reason.
fn cell(kind: FieldKind, value: &Value) -> Value {
    let moment = || value.as_str()?.parse::<Timestamp>().ok();
    match kind {
        FieldKind::Moment => {
            moment().map_or_else(|| value.clone(), |t| Value::from(milliseconds(t)))
        }
        // Text of others, for people.
        FieldKind::Line | FieldKind::Text => value
            .as_str()
            .map_or_else(|| value.clone(), |text| Value::from(shown(text))),
        FieldKind::Count => value.clone(),
    }
}

fn milliseconds(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
