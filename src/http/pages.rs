//! Pages of the record: `GET /v1/audit`, `/v1/drift`, `/v1/evidence`, `/v1/state`, newest first.
//!
//! A cursor is opaque to clients; it names its table, so that one of another table is refused and
//! not misread.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};

use crate::domain::history::{AuditItem, DriftItem, EvidenceItem, PageAsk, StateItem};
use crate::domain::throttle::ThrottleName;
use crate::ports::LedgerError;
use crate::source::rest::{BodyError, InvalidField, MOMENT, moment, nearest};

use super::AppRecord;
use super::answer::ProblemResponse;
use super::refusal::table;
use super::wire::Page;

/// Rows of a page when nothing is asked.
const USUAL: usize = 50;
/// Most rows of a page.
const MOST: usize = 200;
/// What is said of a parameter that is none.
const NO_SUCH: &str = "no such parameter here";
/// Most parameters of a query; there are six.
const PAIRS: usize = 16;
/// Longest value of a parameter, bytes.
const LONGEST: usize = 400;

type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;
type Answer<T> = Result<Json<Page<T>>, ProblemResponse>;

/// A page route: its cursors' name and its filters.
struct Table {
    name: &'static str,
    by_throttle: bool,
    kind: &'static str,
}

const AUDIT: Table = Table {
    name: "audit",
    by_throttle: true,
    kind: "action",
};
const DRIFT: Table = Table {
    name: "drift",
    by_throttle: true,
    kind: "action",
};
const EVIDENCE: Table = Table {
    name: "evidence",
    by_throttle: false,
    kind: "kind",
};
const STATE: Table = Table {
    name: "state",
    by_throttle: true,
    kind: "source",
};

/// `GET /v1/audit`
pub(super) async fn audit(State(record): State<Arc<AppRecord>>, pairs: Pairs) -> Answer<AuditItem> {
    said(&AUDIT, record.history()?.audit(AUDIT.ask(pairs)?).await)
}

/// `GET /v1/drift`
pub(super) async fn drift(State(record): State<Arc<AppRecord>>, pairs: Pairs) -> Answer<DriftItem> {
    said(&DRIFT, record.history()?.drifts(DRIFT.ask(pairs)?).await)
}

/// `GET /v1/evidence`
pub(super) async fn evidence(
    State(record): State<Arc<AppRecord>>,
    pairs: Pairs,
) -> Answer<EvidenceItem> {
    said(
        &EVIDENCE,
        record.history()?.evidence(EVIDENCE.ask(pairs)?).await,
    )
}

/// `GET /v1/state`
pub(super) async fn state(State(record): State<Arc<AppRecord>>, pairs: Pairs) -> Answer<StateItem> {
    said(&STATE, record.history()?.states(STATE.ask(pairs)?).await)
}

fn said<T>(
    table: &Table,
    found: Result<crate::domain::history::HistoryPage<T>, LedgerError>,
) -> Answer<T> {
    let page = found.map_err(|error| {
        tracing::error!(%error, table = table.name, "a page of the record could not be read");
        ProblemResponse::of(&table::NO_PAGE)
    })?;
    Ok(Json(Page {
        items: page.items,
        next_cursor: page.next.map(|before| table.cursor(before)),
    }))
}

impl AppRecord {
    fn history(&self) -> Result<&dyn crate::ports::History, ProblemResponse> {
        let none = || ProblemResponse::of(&table::NO_RECORD);
        self.history.as_deref().ok_or_else(none)
    }
}

impl Table {
    fn cursor(&self, before: i64) -> String {
        hex::encode(format!("{}:{before}", self.name))
    }

    fn position(&self, cursor: &str) -> Option<i64> {
        let text = String::from_utf8(hex::decode(cursor).ok()?).ok()?;
        let before = text
            .strip_prefix(self.name)?
            .strip_prefix(':')?
            .parse()
            .ok()?;
        (before > 0).then_some(before)
    }

    /// Reads the query; whatever is wrong with it is named.
    fn ask(&self, pairs: Pairs) -> Result<PageAsk, ProblemResponse> {
        let Query(pairs) =
            pairs.map_err(|_| wrong(vec![field("query", "name=value pairs in UTF-8")]))?;
        if pairs.len() > PAIRS {
            // Each is compared with those before it, and a wrong one with every name there is.
            return Err(wrong(vec![field(
                "query",
                &format!("{PAIRS} parameters at most"),
            )]));
        }
        let mut ask = PageAsk {
            limit: USUAL,
            ..PageAsk::default()
        };
        let (mut errors, mut seen) = (Vec::new(), Vec::new());
        for (name, value) in &pairs {
            let read = if seen.contains(&name) {
                Err("to be given once")
            } else {
                self.read(&mut ask, name, value)
            };
            match (read, self.meant(name)) {
                (Ok(()), _) => {}
                (Err(NO_SUCH), Some(meant)) => {
                    errors.push(field(name, &format!("{NO_SUCH}; did you mean {meant}?")))
                }
                (Err(expected), _) => errors.push(field(name, expected)),
            }
            seen.push(name);
        }
        if errors.is_empty() {
            Ok(ask)
        } else {
            Err(wrong(errors))
        }
    }

    /// The parameter that is nearest to a name.
    fn meant(&self, name: &str) -> Option<&'static str> {
        let known = ["cursor", "limit", "since", "until", self.kind, "throttle"];
        nearest(name, &known[..known.len() - usize::from(!self.by_throttle)])
    }

    fn read(&self, ask: &mut PageAsk, name: &str, value: &str) -> Result<(), &'static str> {
        let moment = || moment(value).map(Some).ok_or(MOMENT);
        match name {
            "cursor" => {
                ask.before = Some(
                    self.position(value)
                        .ok_or("the next_cursor of an earlier page of this route")?,
                )
            }
            "limit" => {
                let limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=MOST).contains(limit));
                ask.limit = limit.ok_or("a whole number from 1 to 200")?;
            }
            "since" => ask.since = moment()?,
            "until" => ask.until = moment()?,
            "throttle" if self.by_throttle => {
                let name = ThrottleName::try_from(value.to_owned());
                ask.throttle =
                    Some(name.map_err(|_| "a throttle's name: 1 to 317 of a-z, 0-9, - and .")?);
            }
            _ if name == self.kind && (1..=LONGEST).contains(&value.len()) => {
                ask.kind = Some(value.to_owned())
            }
            _ if name == self.kind => return Err("1 to 400 bytes"),
            _ => return Err(NO_SUCH),
        }
        Ok(())
    }
}

fn field(name: &str, expected: &str) -> InvalidField {
    InvalidField {
        field: name.chars().take(80).collect(),
        expected: expected.to_owned(),
    }
}

fn wrong(errors: Vec<InvalidField>) -> ProblemResponse {
    BodyError::Fields(errors).into()
}
