//! The mirror's tables as they ought to be, and what a base lacks of them. Pure: values in, a
//! printable diff out.
//!
//! Knows nothing of how a schema is read or changed.

use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// One line.
    Line,
    /// Text of any length.
    Text,
    /// A moment, shown in ISO form and UTC.
    Moment,
    /// A whole number.
    Count,
}

impl FieldKind {
    /// Airtable's name of the type.
    pub const fn airtable_type(self) -> &'static str {
        match self {
            Self::Line => "singleLineText",
            Self::Text => "multilineText",
            Self::Moment => "dateTime",
            Self::Count => "number",
        }
    }

    fn options(self) -> Option<Value> {
        match self {
            Self::Line | Self::Text => None,
            Self::Moment => Some(json!({
                "timeZone": "utc",
                "dateFormat": { "name": "iso" },
                "timeFormat": { "name": "24hour" },
            })),
            Self::Count => Some(json!({ "precision": 0 })),
        }
    }

    /// Whether a field of this found type takes our values. Either kind of text does: a person may
    /// want longer lines.
    pub fn accepts(self, found: &str) -> bool {
        match self {
            Self::Line | Self::Text => {
                found == Self::Line.airtable_type() || found == Self::Text.airtable_type()
            }
            Self::Moment | Self::Count => found == self.airtable_type(),
        }
    }
}

/// A field as it ought to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, which is also the key in the ledger's row.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
}

impl Field {
    /// As Airtable wants to be told.
    pub fn as_json(&self) -> Value {
        let mut field = json!({ "name": self.name, "type": self.kind.airtable_type() });
        if let Some(options) = self.kind.options() {
            field["options"] = options;
        }
        field
    }
}

/// A table as it ought to be. Its first field is the key, and Airtable's primary field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorTable {
    /// The guide's name.
    pub name: &'static str,
    /// What people read above it.
    pub description: &'static str,
    /// The field that tells records apart.
    pub key: Field,
    /// The other fields, in their order.
    pub fields: &'static [Field],
}

impl MirrorTable {
    /// All fields, the key first.
    pub fn all_fields(&self) -> impl Iterator<Item = &Field> {
        std::iter::once(&self.key).chain(self.fields)
    }

    /// As Airtable wants to be told.
    pub fn as_json(&self) -> Value {
        let fields: Vec<Value> = self.all_fields().map(Field::as_json).collect();
        json!({ "name": self.name, "description": self.description, "fields": fields })
    }
}

const fn line(name: &'static str) -> Field {
    Field {
        name,
        kind: FieldKind::Line,
    }
}

const fn moment(name: &'static str) -> Field {
    Field {
        name,
        kind: FieldKind::Moment,
    }
}

/// Drift and its repair.
pub const RECONCILIATION_LOG: MirrorTable = MirrorTable {
    name: "reconciliation_log",
    description: "Drift and its repair, mirrored from Echo Phoenix. The ledger is the truth; edits here change nothing.",
    key: line("id"),
    fields: &[
        line("throttle"),
        line("target"),
        line("field"),
        line("desired"),
        line("actual"),
        line("side"),
        line("who_manager"),
        line("who_operation"),
        line("who_subresource"),
        moment("who_time"),
        moment("first_seen"),
        moment("last_seen"),
        Field {
            name: "count",
            kind: FieldKind::Count,
        },
        line("action"),
        Field {
            name: "error",
            kind: FieldKind::Text,
        },
    ],
};

/// Every table that is mirrored.
pub const TABLES: &[MirrorTable] = &[RECONCILIATION_LOG];

/// A table as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FoundTable {
    /// `tbl…`; stays when the table is renamed.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its fields.
    pub fields: Vec<FoundField>,
}

/// A field as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FoundField {
    /// `fld…`; stays when the field is renamed.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Airtable's name of its type.
    #[serde(rename = "type")]
    pub kind: String,
}

/// One thing to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// A whole table.
    CreateTable(MirrorTable),
    /// A field of a table that is there.
    CreateField {
        /// The table.
        table: MirrorTable,
        /// Its id.
        table_id: String,
        /// The field.
        field: Field,
    },
}

/// A field that is there and takes other values than ours. Only a person can say what is to become
/// of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The table's name.
    pub table: &'static str,
    /// The field as it ought to be.
    pub field: Field,
    /// The type it has.
    pub found: String,
}

/// What a base lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// To be added, in order.
    pub changes: Vec<SchemaChange>,
    /// Never changed, only told.
    pub conflicts: Vec<Conflict>,
}

/// Compares what ought to be with what was found. What is there beyond that is none of our
/// business.
pub fn diff(declared: &[MirrorTable], found: &[FoundTable]) -> Diff {
    let mut diff = Diff::default();
    for table in declared {
        let Some(there) = found.iter().find(|t| t.name == table.name) else {
            diff.changes.push(SchemaChange::CreateTable(*table));
            continue;
        };
        for field in table.all_fields() {
            match there.fields.iter().find(|f| f.name == field.name) {
                None => {
                    let table_id = there.id.clone();
                    diff.changes.push(SchemaChange::CreateField {
                        table: *table,
                        table_id,
                        field: *field,
                    });
                }
                Some(f) if !field.kind.accepts(&f.kind) => {
                    diff.conflicts.push(Conflict {
                        table: table.name,
                        field: *field,
                        found: f.kind.clone(),
                    });
                }
                Some(_) => {}
            }
        }
    }
    diff
}

impl fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateTable(table) => {
                write!(f, "+ table {}", table.name)?;
                table.all_fields().try_for_each(|field| {
                    write!(f, "\n+   {} {}", field.name, field.kind.airtable_type())
                })
            }
            Self::CreateField { table, field, .. } => {
                write!(
                    f,
                    "+ field {}.{} {}",
                    table.name,
                    field.name,
                    field.kind.airtable_type()
                )
            }
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table,
            field,
            found,
        } = self;
        let wanted = field.kind.airtable_type();
        write!(
            f,
            "! field {table}.{} is {found}, expected {wanted}: rename or convert it, it is not changed",
            field.name
        )
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes
            .iter()
            .try_for_each(|change| writeln!(f, "{change}"))?;
        self.conflicts
            .iter()
            .try_for_each(|conflict| writeln!(f, "{conflict}"))
    }
}
