//! The emulator's schema: what tables and fields there are, what may be added, what fits into a
//! cell.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::records::Record;
use super::{Inner, Refusal, bad_request, no_such_model, not_emulated, refuse};

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) id: String,
    pub(super) name: String,
    description: Option<String>,
    view: String,
    pub(super) fields: Vec<Field>,
    pub(super) records: Vec<Record>,
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) id: String,
    pub(super) name: String,
    kind: String,
    description: Option<String>,
    options: Option<Value>,
}

impl Field {
    fn as_json(&self) -> Value {
        let mut field = json!({ "type": self.kind, "id": self.id, "name": self.name });
        if let Some(options) = &self.options {
            field["options"] = options.clone();
        }
        if let Some(description) = &self.description {
            field["description"] = json!(description);
        }
        field
    }

    /// Checks a value as Airtable does without `typecast`, and makes of it what is kept. `None` is
    /// an empty cell.
    pub(super) fn cell(&self, value: &Value) -> Result<Option<Value>, Refusal> {
        let unfit = || {
            refuse(
                422,
                "INVALID_VALUE_FOR_COLUMN",
                format!("Field \"{}\" cannot accept the provided value", self.name),
            )
        };
        if value.is_null() {
            return Ok(None);
        }
        match (self.kind.as_str(), value) {
            ("singleLineText" | "multilineText", Value::String(text)) => {
                Ok((!text.is_empty()).then(|| value.clone()))
            }
            ("number", Value::Number(_)) => Ok(Some(value.clone())),
            ("dateTime", Value::String(text)) if text.is_empty() => Ok(None),
            ("dateTime", Value::String(text)) => {
                let moment: Timestamp = text.parse().map_err(|_| unfit())?;
                Ok(Some(json!(
                    moment.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
                )))
            }
            _ => Err(unfit()),
        }
    }
}

impl Table {
    /// A field by its name or id, as cells of a request name it.
    pub(super) fn field(&self, name: &str) -> Result<&Field, Refusal> {
        let found = self.fields.iter().find(|f| f.id == name || f.name == name);
        found.ok_or_else(|| {
            refuse(
                422,
                "UNKNOWN_FIELD_NAME",
                format!("Unknown field name: \"{name}\""),
            )
        })
    }

    fn as_json(&self) -> Value {
        let mut table = json!({
            "id": self.id,
            "name": self.name,
            "primaryFieldId": self.fields[0].id,
            "fields": self.fields.iter().map(Field::as_json).collect::<Vec<_>>(),
            "views": [{ "id": self.view, "name": "Grid view", "type": "grid" }],
        });
        if let Some(description) = &self.description {
            table["description"] = json!(description);
        }
        table
    }
}

impl Inner {
    pub(super) fn schema(&self) -> Value {
        json!({ "tables": self.tables.iter().map(Table::as_json).collect::<Vec<_>>() })
    }

    /// A table by its name or id.
    pub(super) fn table(&mut self, name: &str) -> Result<&mut Table, Refusal> {
        self.tables
            .iter_mut()
            .find(|t| t.id == name || t.name == name)
            .ok_or_else(no_such_model)
    }

    pub(super) fn create_table(&mut self, body: &Value) -> Result<Value, Refusal> {
        only(body, &["name", "description", "fields"])?;
        let name = body["name"]
            .as_str()
            .filter(|name| !name.is_empty())
            .ok_or_else(bad_request)?;
        if self
            .tables
            .iter()
            .any(|t| t.name.eq_ignore_ascii_case(name))
        {
            return Err(refuse(
                422,
                "DUPLICATE_TABLE_NAME",
                format!(
                    "Cannot create table because another table in this base has the same name: {name}"
                ),
            ));
        }
        let mut fields = Vec::new();
        for field in body["fields"]
            .as_array()
            .filter(|fields| !fields.is_empty())
            .ok_or_else(bad_request)?
        {
            let field = self.new_field(&fields, field)?;
            fields.push(field);
        }
        let (id, view) = (self.id("tbl"), self.id("viw"));
        let description = body["description"].as_str().map(str::to_owned);
        let table = Table {
            id,
            name: name.to_owned(),
            description,
            view,
            fields,
            records: Vec::new(),
        };
        let answer = table.as_json();
        self.tables.push(table);
        Ok(answer)
    }

    pub(super) fn create_field(&mut self, table: &str, body: &Value) -> Result<Value, Refusal> {
        let there = self.table(table)?.fields.clone();
        let field = self.new_field(&there, body)?;
        let answer = field.as_json();
        self.table(table)?.fields.push(field);
        Ok(answer)
    }

    fn new_field(&mut self, there: &[Field], body: &Value) -> Result<Field, Refusal> {
        only(body, &["name", "type", "description", "options"])?;
        let (Some(name), Some(kind)) = (body["name"].as_str(), body["type"].as_str()) else {
            return Err(bad_request());
        };
        if there.iter().any(|f| f.name.eq_ignore_ascii_case(name)) {
            return Err(refuse(
                422,
                "DUPLICATE_OR_EMPTY_FIELD_NAME",
                format!("Field name \"{name}\" is a duplicate or empty"),
            ));
        }
        let options = options(kind, &body["options"])?;
        let description = body["description"].as_str().map(str::to_owned);
        Ok(Field {
            id: self.id("fld"),
            name: name.to_owned(),
            kind: kind.to_owned(),
            description,
            options,
        })
    }
}

/// Options are wanted for some types and refused for others; what was left out of a format is
/// filled in.
fn options(kind: &str, given: &Value) -> Result<Option<Value>, Refusal> {
    let invalid = || {
        let message = format!("Invalid options for field of type {kind}");
        refuse(422, "INVALID_FIELD_TYPE_OPTIONS_FOR_CREATE", message)
    };
    match kind {
        "singleLineText" | "multilineText" => {
            if given.is_null() {
                Ok(None)
            } else {
                Err(invalid())
            }
        }
        "number" => {
            let precision = given["precision"]
                .as_u64()
                .filter(|p| *p <= 8)
                .ok_or_else(invalid)?;
            Ok(Some(json!({ "precision": precision })))
        }
        "dateTime" => {
            let format = |format: &Value, known: &[(&str, &str)]| {
                let (name, shape) = known.iter().find(|(name, _)| format["name"] == *name)?;
                Some(json!({ "name": name, "format": shape }))
            };
            let date = format(
                &given["dateFormat"],
                &[("iso", "YYYY-MM-DD"), ("local", "l"), ("us", "M/D/YYYY")],
            );
            let time = format(
                &given["timeFormat"],
                &[("24hour", "HH:mm"), ("12hour", "h:mma")],
            );
            let zone = given["timeZone"]
                .as_str()
                .filter(|zone| *zone == "utc" || *zone == "client");
            let (Some(date), Some(time), Some(zone)) = (date, time, zone) else {
                return Err(invalid());
            };
            Ok(Some(
                json!({ "timeZone": zone, "dateFormat": date, "timeFormat": time }),
            ))
        }
        other => Err(not_emulated(&format!("fields of type {other}"))),
    }
}

/// A key outside the documented ones is refused: a misspelt one would otherwise be half a command.
pub(super) fn only(body: &Value, allowed: &[&str]) -> Result<(), Refusal> {
    let known = |map: &Map<String, Value>| map.keys().all(|key| allowed.contains(&key.as_str()));
    if body.as_object().is_some_and(known) {
        Ok(())
    } else {
        Err(bad_request())
    }
}
