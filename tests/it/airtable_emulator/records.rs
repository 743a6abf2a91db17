//! The emulator's records: listing page by page, creating, updating and upserting at most ten at
//! once.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::tables::{Table, only};
use super::{Inner, Refusal, bad_request, not_emulated, refuse};

/// Most records in one write.
const WRITE_LIMIT: usize = 10;
/// Most records on one page.
const PAGE_LIMIT: usize = 100;

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: String,
    created: String,
    /// By field id. An empty cell has no entry.
    cells: BTreeMap<String, Value>,
}

impl Record {
    /// As it is answered: empty cells are left out.
    pub(super) fn as_json(&self, table: &Table, by_id: bool) -> Value {
        let name = |id: &String| {
            table
                .fields
                .iter()
                .find(|f| f.id == *id)
                .map_or_else(|| id.clone(), |f| f.name.clone())
        };
        let cells: Map<String, Value> = self
            .cells
            .iter()
            .map(|(id, value)| (if by_id { id.clone() } else { name(id) }, value.clone()))
            .collect();
        json!({ "id": self.id, "createdTime": self.created, "fields": cells })
    }

    fn write(&mut self, cells: &BTreeMap<String, Option<Value>>, replace: bool) {
        if replace {
            self.cells.clear();
        }
        for (id, value) in cells {
            match value {
                Some(value) => self.cells.insert(id.clone(), value.clone()),
                None => self.cells.remove(id),
            };
        }
    }
}

/// What a write says beside the records themselves.
struct Write<'a> {
    records: Vec<&'a Value>,
    by_id: bool,
}

fn read_write<'a>(body: &'a Value, allowed: &[&str], message: &str) -> Result<Write<'a>, Refusal> {
    only(body, allowed)?;
    let flag = |name: &str| match &body[name] {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        _ => Err(bad_request()),
    };
    if flag("typecast")? {
        return Err(not_emulated("typecast"));
    }
    let records: Option<Vec<&Value>> = body["records"]
        .as_array()
        .map(|records| records.iter().collect());
    let fits = |records: &Vec<&Value>| {
        (1..=WRITE_LIMIT).contains(&records.len())
            && records.iter().all(|record| record["fields"].is_object())
    };
    let records = records
        .filter(fits)
        .ok_or_else(|| refuse(422, "INVALID_RECORDS", message))?;
    Ok(Write {
        records,
        by_id: flag("returnFieldsByFieldId")?,
    })
}

impl Table {
    /// Cells of a request, by field id and checked.
    fn cells(&self, fields: &Value) -> Result<BTreeMap<String, Option<Value>>, Refusal> {
        let fields = fields.as_object().ok_or_else(bad_request)?;
        let cell = |(name, value): (&String, &Value)| {
            let field = self.field(name)?;
            Ok((field.id.clone(), field.cell(value)?))
        };
        fields.iter().map(cell).collect()
    }

    /// Which record an upsert means: by its id, or by the fields to merge on.
    fn meant(
        &self,
        record: &Value,
        merge_on: &[String],
        cells: &BTreeMap<String, Option<Value>>,
    ) -> Result<Option<usize>, Refusal> {
        if let Some(id) = record["id"].as_str() {
            let missing = || {
                refuse(
                    422,
                    "ROW_DOES_NOT_EXIST",
                    format!("Record ID {id} does not exist in this table"),
                )
            };
            return self
                .records
                .iter()
                .position(|r| r.id == id)
                .map(Some)
                .ok_or_else(missing);
        }
        if merge_on.is_empty() {
            return Err(refuse(422, "INVALID_RECORDS", UPDATE_MESSAGE));
        }
        if !merge_on.iter().all(|field| cells.contains_key(field)) {
            return Err(refuse(
                422,
                "INVALID_REQUEST_UNKNOWN",
                "Invalid request: a record lacks a value for a field in fieldsToMergeOn.",
            ));
        }
        let same = |r: &Record| {
            merge_on
                .iter()
                .all(|field| r.cells.get(field) == cells[field].as_ref())
        };
        let mut matches = self
            .records
            .iter()
            .enumerate()
            .filter(|(_, r)| same(r))
            .map(|(index, _)| index);
        let first = matches.next();
        if matches.next().is_some() {
            // Documented to fail; type and words are not, these are ours.
            return Err(refuse(
                422,
                "INVALID_REQUEST_UNKNOWN",
                "Invalid request: more than one record matches the fields in fieldsToMergeOn.",
            ));
        }
        Ok(first)
    }

    fn merge_on(&self, body: &Value) -> Result<Option<Vec<String>>, Refusal> {
        if body["performUpsert"].is_null() {
            return Ok(None);
        }
        only(&body["performUpsert"], &["fieldsToMergeOn"])?;
        let names = body["performUpsert"]["fieldsToMergeOn"]
            .as_array()
            .filter(|names| (1..=3).contains(&names.len()));
        let id = |name: &Value| {
            Ok(self
                .field(name.as_str().ok_or_else(bad_request)?)?
                .id
                .clone())
        };
        names
            .ok_or_else(bad_request)?
            .iter()
            .map(id)
            .collect::<Result<_, Refusal>>()
            .map(Some)
    }
}

const UPDATE_MESSAGE: &str = "You must provide an array of up to 10 record objects, each with an \"id\" ID field and a \"fields\" object for cell values.";
const CREATE_MESSAGE: &str = "You must provide an array of up to 10 record objects, each with a \"fields\" object for cell values.";

impl Inner {
    fn new_record(&mut self, cells: &BTreeMap<String, Option<Value>>) -> Record {
        let created = jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%S.000Z")
            .to_string();
        let mut record = Record {
            id: self.id("rec"),
            created,
            cells: BTreeMap::new(),
        };
        record.write(cells, true);
        record
    }

    pub(super) fn list_records(
        &mut self,
        table: &str,
        query: &[(String, String)],
    ) -> Result<Value, Refusal> {
        let table = self.table(table)?;
        let (mut page, mut most, mut start, mut by_id) = (PAGE_LIMIT, usize::MAX, 0, false);
        for (name, value) in query {
            let number = || {
                value
                    .parse::<usize>()
                    .ok()
                    .filter(|n| *n >= 1)
                    .ok_or_else(bad_request)
            };
            match name.as_str() {
                "pageSize" => {
                    page = number()
                        .ok()
                        .filter(|n| *n <= PAGE_LIMIT)
                        .ok_or_else(bad_request)?
                }
                "maxRecords" => most = number()?,
                "returnFieldsByFieldId" => by_id = value == "true" || value == "1",
                "offset" => {
                    let place = value
                        .strip_prefix("itr")
                        .and_then(|rest| rest.split_once('/')?.0.parse().ok());
                    start = place.ok_or_else(|| {
                        refuse(
                            422,
                            "INVALID_OFFSET_VALUE",
                            format!("The value of offset {value} is invalid"),
                        )
                    })?;
                }
                other => return Err(not_emulated(&format!("the parameter {other}"))),
            }
        }
        let end = table.records.len().min(most).min(start + page);
        let shown = table.records.get(start..end).unwrap_or_default();
        let mut answer =
            json!({ "records": shown.iter().map(|r| r.as_json(table, by_id)).collect::<Vec<_>>() });
        if let Some(next) = table.records.get(end).filter(|_| end < most) {
            answer["offset"] = json!(format!("itr{end:014}/{}", next.id));
        }
        Ok(answer)
    }

    /// One record as `fields`, or up to ten as `records`.
    pub(super) fn create_records(&mut self, table: &str, body: &Value) -> Result<Value, Refusal> {
        if body["records"].is_null() {
            only(body, &["fields", "typecast", "returnFieldsByFieldId"])?;
            let one = json!({ "records": [{ "fields": body["fields"] }], "typecast": body["typecast"], "returnFieldsByFieldId": body["returnFieldsByFieldId"] });
            return Ok(self.create_records(table, &one)?["records"][0].clone());
        }
        let write = read_write(
            body,
            &["records", "typecast", "returnFieldsByFieldId"],
            CREATE_MESSAGE,
        )?;
        let there = self.table(table)?.clone();
        // All are checked before any is written: a write is whole or not at all.
        let cells: Vec<_> = write
            .records
            .iter()
            .map(|record| there.cells(&record["fields"]))
            .collect::<Result<_, _>>()?;
        let records: Vec<Record> = cells.iter().map(|cells| self.new_record(cells)).collect();
        let answer: Vec<Value> = records
            .iter()
            .map(|r| r.as_json(&there, write.by_id))
            .collect();
        self.table(table)?.records.extend(records);
        Ok(json!({ "records": answer }))
    }

    pub(super) fn update_records(
        &mut self,
        table: &str,
        body: &Value,
        replace: bool,
    ) -> Result<Value, Refusal> {
        let allowed = [
            "records",
            "typecast",
            "returnFieldsByFieldId",
            "performUpsert",
        ];
        let write = read_write(body, &allowed, UPDATE_MESSAGE)?;
        // Worked on in a copy: a write is whole or not at all.
        let mut there = self.table(table)?.clone();
        let merge_on = there.merge_on(body)?;
        let (mut created, mut updated, mut shown) = (Vec::new(), Vec::new(), Vec::new());
        for record in &write.records {
            let cells = there.cells(&record["fields"])?;
            let index =
                match there.meant(record, merge_on.as_deref().unwrap_or_default(), &cells)? {
                    Some(index) => {
                        there.records[index].write(&cells, replace);
                        updated.push(there.records[index].id.clone());
                        index
                    }
                    None => {
                        let record = self.new_record(&cells);
                        created.push(record.id.clone());
                        there.records.push(record);
                        there.records.len() - 1
                    }
                };
            shown.push(there.records[index].as_json(&there, write.by_id));
        }
        *self.table(table)? = there;
        let mut answer = json!({ "records": shown });
        if merge_on.is_some() {
            answer["createdRecords"] = json!(created);
            answer["updatedRecords"] = json!(updated);
        }
        Ok(answer)
    }
}
