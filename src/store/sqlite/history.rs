//! Pages of the record, newest first. Numbers only grow, so a page stays what it is while rows are
//! added.

use std::sync::LazyLock;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteLedger;
use super::rows::time;
use crate::domain::audit::AuditAction;
use crate::domain::history::{
    AuditItem, DriftItem, EvidenceItem, HistoryPage, PageAsk, StateItem, WhoItem,
};
use crate::ports::{History, LedgerError};

/// One table as pages read it.
struct Paged {
    columns: &'static str,
    table: &'static str,
    /// Column of the number that grows.
    number: &'static str,
    /// Column of the throttle; `NULL` where there is none.
    throttle: &'static str,
    kind: &'static str,
    at: &'static str,
    /// Kinds of rows of all throttles that concern each of them, quoted; `NULL` where there are
    /// none.
    of_all: &'static str,
}

/// Rows that one look goes through: some ten milliseconds, whatever is asked for.
const WINDOW: i64 = 10_000;
/// Looks of one page that has found nothing yet. A page that found too little, or still nothing,
/// has a next one all the same.
const LOOKS: usize = 3;

/// What held or changed every throttle at once.
static HELD_ALL: LazyLock<String> = LazyLock::new(|| {
    let all = [
        AuditAction::Kill,
        AuditAction::Revive,
        AuditAction::Override,
        AuditAction::HoldEnded,
        AuditAction::Unaccounted,
    ];
    all.map(|action| format!("'{}'", action.as_str()))
        .join(", ")
});

fn audit(conn: &Connection, ask: &PageAsk) -> rusqlite::Result<HistoryPage<AuditItem>> {
    let paged = Paged {
        columns: "seq, at, actor, operator, action, throttle, before, after, reason, binding_signal, request_id, \
                  prev_hash, hash",
        table: "audit_log",
        number: "seq",
        throttle: "throttle",
        kind: "action",
        at: "at",
        of_all: &HELD_ALL,
    };
    let read = |row: &Row<'_>| {
        Ok(AuditItem {
            seq: row.get(0)?,
            at: row.get(1)?,
            actor: row.get(2)?,
            operator: row.get(3)?,
            action: row.get(4)?,
            throttle: row.get(5)?,
            before: row.get(6)?,
            after: row.get(7)?,
            reason: row.get(8)?,
            binding_signal: row.get(9)?,
            request_id: row.get(10)?,
            prev_hash: row.get(11)?,
            hash: row.get(12)?,
        })
    };
    page(conn, &paged, ask, read, |item| item.seq)
}

fn drifts(conn: &Connection, ask: &PageAsk) -> rusqlite::Result<HistoryPage<DriftItem>> {
    let paged = Paged {
        columns: "seq, id, throttle, target, field, desired, actual, side, who_manager, who_operation, \
                  who_subresource, who_time, first_seen, last_seen, count, action, error",
        table: "reconciliation_log",
        number: "seq",
        throttle: "throttle",
        kind: "action",
        at: "last_seen",
        of_all: "NULL",
    };
    let read = |row: &Row<'_>| {
        let manager: Option<String> = row.get(8)?;
        let who = match manager {
            None => None,
            Some(manager) => Some(WhoItem {
                manager,
                operation: row.get::<_, Option<String>>(9)?.unwrap_or_default(),
                subresource: row.get::<_, Option<String>>(10)?.unwrap_or_default(),
                time: row.get(11)?,
            }),
        };
        Ok(DriftItem {
            seq: row.get(0)?,
            id: row.get(1)?,
            throttle: row.get(2)?,
            target: row.get(3)?,
            field: row.get(4)?,
            desired: row.get(5)?,
            actual: row.get(6)?,
            side: row.get(7)?,
            who,
            first_seen: row.get(12)?,
            last_seen: row.get(13)?,
            count: row.get(14)?,
            action: row.get(15)?,
            error: row.get(16)?,
        })
    };
    page(conn, &paged, ask, read, |item| item.seq)
}

fn evidence(conn: &Connection, ask: &PageAsk) -> rusqlite::Result<HistoryPage<EvidenceItem>> {
    let paged = Paged {
        columns: "seq, livemode, account, event_id, kind, created, object_id, amount, currency, digest, received_at, \
                  prev_hash, hash",
        table: "evidence_ledger",
        number: "seq",
        throttle: "NULL",
        kind: "kind",
        at: "received_at",
        of_all: "NULL",
    };
    let read = |row: &Row<'_>| {
        Ok(EvidenceItem {
            seq: row.get(0)?,
            livemode: row.get(1)?,
            account: row.get(2)?,
            event_id: row.get(3)?,
            kind: row.get(4)?,
            created: row.get(5)?,
            object_id: row.get(6)?,
            amount: row.get(7)?,
            currency: row.get(8)?,
            digest: row.get(9)?,
            received_at: row.get(10)?,
            prev_hash: row.get(11)?,
            hash: row.get(12)?,
        })
    };
    page(conn, &paged, ask, read, |item| item.seq)
}

fn states(conn: &Connection, ask: &PageAsk) -> rusqlite::Result<HistoryPage<StateItem>> {
    let paged = Paged {
        columns: "id, at, source, throttle, state",
        table: "system_state",
        number: "id",
        throttle: "throttle",
        kind: "source",
        at: "at",
        of_all: "NULL",
    };
    let read = |row: &Row<'_>| {
        let state: String = row.get(4)?;
        Ok(StateItem {
            id: row.get(0)?,
            at: row.get(1)?,
            source: row.get(2)?,
            throttle: row.get(3)?,
            // A value that somebody edited into no JSON is shown as it is; `verify` is what judges
            // it.
            state: serde_json::from_str(&state).unwrap_or(serde_json::Value::String(state)),
        })
    };
    page(conn, &paged, ask, read, |item| item.id)
}

/// Looks on where nothing was found: most of those who ask take an empty page for the last one.
fn page<T>(
    conn: &Connection,
    paged: &Paged,
    ask: &PageAsk,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    number: impl Fn(&T) -> i64,
) -> rusqlite::Result<HistoryPage<T>> {
    let mut found = look(conn, paged, ask, &read, &number)?;
    for _ in 1..LOOKS {
        if found.next.is_none() || !found.items.is_empty() {
            break;
        }
        let on = PageAsk {
            before: found.next,
            ..ask.clone()
        };
        found = look(conn, paged, &on, &read, &number)?;
    }
    Ok(found)
}

fn look<T>(
    conn: &Connection,
    paged: &Paged,
    ask: &PageAsk,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    number: impl Fn(&T) -> i64,
) -> rusqlite::Result<HistoryPage<T>> {
    let Paged {
        columns,
        table,
        number: counted,
        throttle,
        kind,
        at,
        of_all,
    } = paged;
    // What concerned all is found under every name.
    let names = format!("({throttle} = ?2 OR ({throttle} = '' AND {kind} IN ({of_all})))");
    let looked = paged.looked_through(ask);
    let floor = floor(conn, &looked, ask)?;
    let sql = format!(
        "SELECT {columns} FROM ({looked}) AS {table}
         WHERE {counted} >= ?7 AND (?2 IS NULL OR {names}) AND (?3 IS NULL OR {kind} = ?3)
           AND (?4 IS NULL OR {at} >= ?4) AND (?5 IS NULL OR {at} < ?5)
         ORDER BY {counted} DESC LIMIT ?6",
        looked = looked
            .iter()
            .map(|part| format!("SELECT * FROM ({part})"))
            .collect::<Vec<_>>()
            .join(" UNION ALL "),
    );
    let throttle = ask.throttle.as_ref().map(|name| name.as_str());
    // One more than asked for tells whether there is a next page.
    let limit = i64::try_from(ask.limit).unwrap_or(i64::MAX - 1) + 1;
    let (since, until) = (ask.since.map(time), ask.until.map(time));
    let asked = params![
        ask.before.unwrap_or(i64::MAX),
        throttle,
        ask.kind,
        since,
        until,
        limit,
        floor
    ];
    let mut items: Vec<T> = conn
        .prepare_cached(&sql)?
        .query_map(asked, read)?
        .collect::<rusqlite::Result<_>>()?;
    let more = items.len() > ask.limit;
    items.truncate(ask.limit);
    // A page that found too little goes on where it stopped looking.
    let next = if more {
        items.last().map(number)
    } else {
        (floor > 0).then_some(floor)
    };
    Ok(HistoryPage { items, next })
}

impl Paged {
    /// The rows that one look goes through, newest first, by the index of what is asked for: one
    /// part for a throttle's own and one for those of all.
    fn looked_through(&self, ask: &PageAsk) -> Vec<String> {
        let Self {
            table,
            number,
            throttle,
            kind,
            ..
        } = self;
        let part = |filter: &str| {
            format!(
                "SELECT * FROM {table} WHERE {number} < ?1{filter} ORDER BY {number} DESC LIMIT {WINDOW}"
            )
        };
        match (&ask.throttle, &ask.kind) {
            (Some(_), _) if *throttle != "NULL" => {
                let own = part(&format!(" AND {throttle} = ?2"));
                if self.of_all == "NULL" {
                    vec![own]
                } else {
                    vec![own, part(&format!(" AND {throttle} = ''"))]
                }
            }
            (_, Some(_)) => vec![part(&format!(" AND {kind} = ?3"))],
            _ => vec![part("")],
        }
    }
}

/// The number down to which every part was looked through whole; 0 if that is all there is.
fn floor(conn: &Connection, looked: &[String], ask: &PageAsk) -> rusqlite::Result<i64> {
    let throttle = ask.throttle.as_ref().map(|name| name.as_str());
    let mut floor = 0;
    for part in looked {
        let last = part
            .replace("SELECT *", "SELECT rowid")
            .replace(&format!("LIMIT {WINDOW}"), "LIMIT 1 OFFSET ?4");
        let sql = format!("SELECT * FROM ({last}) WHERE ?2 IS ?2 AND ?3 IS ?3");
        let asked = params![
            ask.before.unwrap_or(i64::MAX),
            throttle,
            ask.kind,
            WINDOW - 1
        ];
        let found: Option<i64> = conn
            .prepare_cached(&sql)?
            .query_row(asked, |row| row.get(0))
            .optional()?;
        floor = floor.max(found.unwrap_or_default());
    }
    Ok(floor)
}

#[async_trait]
impl History for SqliteLedger {
    async fn audit(&self, ask: PageAsk) -> Result<HistoryPage<AuditItem>, LedgerError> {
        self.page(move |conn| audit(conn, &ask)).await
    }

    async fn drifts(&self, ask: PageAsk) -> Result<HistoryPage<DriftItem>, LedgerError> {
        self.page(move |conn| drifts(conn, &ask)).await
    }

    async fn evidence(&self, ask: PageAsk) -> Result<HistoryPage<EvidenceItem>, LedgerError> {
        self.page(move |conn| evidence(conn, &ask)).await
    }

    async fn states(&self, ask: PageAsk) -> Result<HistoryPage<StateItem>, LedgerError> {
        self.page(move |conn| states(conn, &ask)).await
    }
}
