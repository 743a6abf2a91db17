//! Airtable's Web API as far as the mirror uses it, in this process and on a free port.
//!
//! No registry has one. Shapes and words of answers are the real ones where they are documented or
//! have been seen in public; where not (an upsert with more than one match), it says so. Its truth
//! is checked by a real client, see `airtable_check.py`. What it does not know it refuses with 501
//! rather than guess.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support: it has a clock and a task of its own, and fails loudly"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

mod records;
mod tables;

use tables::Table;

/// A token that is accepted.
pub(crate) const TOKEN: &str = "patEmulator.0123456789";
/// A token that is accepted but has no base.
pub(crate) const TOKEN_WITHOUT_BASE: &str = "patEmulator.stranger";
/// The one base there is.
pub(crate) const BASE: &str = "appEmulator000001";

/// How strict it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Requests in any second.
    pub(crate) per_second: usize,
    /// How long everybody is locked out after one more.
    pub(crate) lockout: Duration,
}

impl Default for Limits {
    /// As the real one.
    fn default() -> Self {
        Self {
            per_second: 5,
            lockout: Duration::from_secs(30),
        }
    }
}

/// What it is told to do next.
#[derive(Debug, Default)]
struct Faults {
    /// The month's calls are used up.
    quota_spent: bool,
    /// So many writes are applied and never answered.
    unanswered_writes: usize,
    /// So many requests are answered with this status.
    broken: (usize, u16),
}

#[derive(Debug)]
struct Inner {
    limits: Limits,
    tables: Vec<Table>,
    faults: Faults,
    recent: VecDeque<Instant>,
    locked_until: Option<Instant>,
    log: Vec<(Instant, String)>,
    ids: u64,
}

impl Inner {
    /// Three letters and fourteen characters, as all ids of Airtable's.
    fn id(&mut self, kind: &str) -> String {
        self.ids += 1;
        format!("{kind}{:0>14}", self.ids)
    }
}

/// A running emulator; it stops when this is dropped.
#[derive(Debug)]
pub(crate) struct Emulator {
    inner: Arc<Mutex<Inner>>,
    url: String,
    server: JoinHandle<()>,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Emulator {
    pub(crate) async fn start(limits: Limits) -> Self {
        let inner = Inner {
            limits,
            tables: Vec::new(),
            faults: Faults::default(),
            recent: VecDeque::new(),
            locked_until: None,
            log: Vec::new(),
            ids: 0,
        };
        let inner = Arc::new(Mutex::new(inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&inner));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { inner, url, server }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on (or no longer) the month's calls are used up.
    pub(crate) fn spend_quota(&self, spent: bool) {
        self.lock().faults.quota_spent = spent;
    }

    /// The next writes are applied, and their answers never come.
    pub(crate) fn leave_writes_unanswered(&self, number: usize) {
        self.lock().faults.unanswered_writes = number;
    }

    /// The next requests are answered with this status.
    pub(crate) fn break_down(&self, number: usize, status: u16) {
        self.lock().faults.broken = (number, status);
    }

    /// What was asked and when, `PATCH 200 /v0/…` for example.
    pub(crate) fn log(&self) -> Vec<(Instant, String)> {
        self.lock().log.clone()
    }

    /// How many requests were answered so far whose log line begins thus.
    pub(crate) fn count(&self, beginning: &str) -> usize {
        self.lock()
            .log
            .iter()
            .filter(|(_, line)| line.starts_with(beginning))
            .count()
    }

    /// A table's records by field name, in order of creation.
    pub(crate) fn records(&self, table: &str) -> Vec<Value> {
        let inner = self.lock();
        let Some(table) = inner.tables.iter().find(|t| t.name == table) else {
            return Vec::new();
        };
        table
            .records
            .iter()
            .map(|record| record.as_json(table, false)["fields"].clone())
            .collect()
    }

    /// The schema as a client is told it.
    pub(crate) fn schema(&self) -> Value {
        self.lock().schema()
    }

    /// Copies a table's first record, as a person's copy and paste does.
    pub(crate) fn duplicate_first_record(&self, table: &str) {
        let mut inner = self.lock();
        let id = inner.id("rec");
        let table = inner.tables.iter_mut().find(|t| t.name == table).unwrap();
        let mut copy = table.records[0].clone();
        copy.id = id;
        table.records.push(copy);
    }

    /// What a person does in the field's menu.
    pub(crate) fn rename_field(&self, table: &str, from: &str, to: &str) {
        let mut inner = self.lock();
        let table = inner.tables.iter_mut().find(|t| t.name == table).unwrap();
        table
            .fields
            .iter_mut()
            .find(|f| f.name == from)
            .unwrap()
            .name = to.to_owned();
    }
}

/// An answer that is no 200.
#[derive(Debug)]
struct Refusal(u16, Value);

fn refuse(status: u16, kind: &str, message: impl Into<String>) -> Refusal {
    Refusal(
        status,
        json!({ "error": { "type": kind, "message": message.into() } }),
    )
}

/// Both 429s have this shape, unlike every other refusal.
fn refuse_429(kind: &str, message: &str) -> Refusal {
    Refusal(
        429,
        json!({ "errors": [{ "error": kind, "message": message }] }),
    )
}

fn bad_request() -> Refusal {
    refuse(
        422,
        "INVALID_REQUEST_UNKNOWN",
        "Invalid request: parameter validation failed. Check your request data.",
    )
}

fn not_found() -> Refusal {
    Refusal(404, json!({ "error": "NOT_FOUND" }))
}

/// Unknown and not allowed are one answer, so that nobody finds out what there is.
fn no_such_model() -> Refusal {
    let message = "Invalid permissions, or the requested model was not found. Check that both your user and your token \
                   have the required permissions, and that the model names and/or ids are correct.";
    refuse(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", message)
}

fn not_emulated(what: &str) -> Refusal {
    refuse(
        501,
        "NOT_EMULATED",
        format!("this emulator does not know {what}"),
    )
}

async fn answer(
    State(inner): State<Arc<Mutex<Inner>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (status, answer, unanswered) = {
        let mut inner = inner.lock().unwrap();
        let result = inner.answer(&method, &uri, &headers, &body);
        let write = method != Method::GET && result.is_ok();
        let unanswered = write && inner.faults.unanswered_writes > 0;
        if unanswered {
            inner.faults.unanswered_writes -= 1;
        }
        let (status, answer) = match result {
            Ok(answer) => (200, answer),
            Err(Refusal(status, answer)) => (status, answer),
        };
        inner
            .log
            .push((Instant::now(), format!("{method} {status} {}", uri.path())));
        (status, answer, unanswered)
    };
    if unanswered {
        // Longer than any test; dropped when the client hangs up.
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
    let content_type = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (
        StatusCode::from_u16(status).unwrap(),
        content_type,
        answer.to_string(),
    )
        .into_response()
}

impl Inner {
    fn answer(
        &mut self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Value, Refusal> {
        let path: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        let (base, is_meta) = match path.as_slice() {
            ["v0", "meta", "bases", base, ..] => (*base, true),
            ["v0", base, _, ..] => (*base, false),
            _ => return Err(not_found()),
        };
        if !is_id("app", base) {
            return Err(not_found());
        }
        authorize(headers, base)?;
        self.meter(is_meta)?;
        let (left, status) = self.faults.broken;
        if left > 0 {
            self.faults.broken.0 -= 1;
            return Err(Refusal(
                status,
                json!({ "error": { "type": "SERVER_ERROR", "message": "" } }),
            ));
        }
        let body = read_body(method, headers, body)?;
        let query = query(uri);
        match (method.as_str(), path.as_slice()) {
            ("GET", ["v0", "meta", "bases", _, "tables"]) => Ok(self.schema()),
            ("POST", ["v0", "meta", "bases", _, "tables"]) => self.create_table(&body),
            ("POST", ["v0", "meta", "bases", _, "tables", table, "fields"]) => {
                self.create_field(table, &body)
            }
            ("GET", ["v0", _, table]) => self.list_records(&decoded(table), &query),
            ("POST", ["v0", _, table]) => self.create_records(&decoded(table), &body),
            ("PATCH", ["v0", _, table]) => self.update_records(&decoded(table), &body, false),
            ("PUT", ["v0", _, table]) => self.update_records(&decoded(table), &body, true),
            _ => Err(not_emulated(&format!("{method} {}", uri.path()))),
        }
    }

    /// Counts a request against both limits. Reading and changing the schema has been seen to go on
    /// after the month's calls were used up.
    fn meter(&mut self, is_meta: bool) -> Result<(), Refusal> {
        let limited = || {
            refuse_429(
                "RATE_LIMIT_REACHED",
                "Rate limit exceeded. Please try again later",
            )
        };
        let now = Instant::now();
        if self.locked_until.is_some_and(|until| now < until) {
            return Err(limited());
        }
        self.locked_until = None;
        while self
            .recent
            .front()
            .is_some_and(|then| now.duration_since(*then) >= Duration::from_secs(1))
        {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.limits.per_second {
            self.locked_until = Some(now + self.limits.lockout);
            self.recent.clear();
            return Err(limited());
        }
        self.recent.push_back(now);
        if self.faults.quota_spent && !is_meta {
            let message = "API billing plan limit exceeded. You've reached the maximum number of requests allowed for this month.";
            return Err(refuse_429("PUBLIC_API_BILLING_LIMIT_EXCEEDED", message));
        }
        Ok(())
    }
}

fn authorize(headers: &HeaderMap, base: &str) -> Result<(), Refusal> {
    let authorization = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    match authorization.and_then(|text| text.strip_prefix("Bearer ")) {
        None => Err(refuse(
            401,
            "AUTHENTICATION_REQUIRED",
            "Authentication required",
        )),
        Some(TOKEN) if base == BASE => Ok(()),
        Some(TOKEN | TOKEN_WITHOUT_BASE) => Err(no_such_model()),
        Some(_) => Err(refuse(401, "UNAUTHORIZED", "Invalid authentication token")),
    }
}

fn read_body(method: &Method, headers: &HeaderMap, body: &[u8]) -> Result<Value, Refusal> {
    let unreadable = || refuse(422, "INVALID_REQUEST_BODY", "Could not parse request body");
    if method == Method::GET {
        return Ok(Value::Null);
    }
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let body = content_type
        .starts_with("application/json")
        .then(|| serde_json::from_slice(body).ok())
        .flatten();
    body.filter(Value::is_object).ok_or_else(unreadable)
}

fn is_id(kind: &str, text: &str) -> bool {
    text.len() == 17 && text.starts_with(kind) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn query(uri: &Uri) -> Vec<(String, String)> {
    let pairs = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (decoded(k), decoded(v)))
        .collect()
}

/// Undoes percent-encoding, and `+` for a blank.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                u8::from_str_radix(&String::from_utf8_lossy(&digits), 16).unwrap_or(b'?')
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
