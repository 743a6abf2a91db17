//! The tables and how an older file becomes a newer one.
//!
//! Knows the shape of what is stored, nothing of when or why it is written.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use rusqlite::Connection;

/// One append-only, numbered and chained table. Its `columns` are what the chain covers, in stored
/// order, besides `seq`, `format`, `prev_hash` and `hash`, which all of them have.
#[derive(Debug)]
pub(crate) struct Chained {
    /// The guide's name.
    pub(crate) name: &'static str,
    /// Columns of the newest format. Those of an older one are the first of them.
    pub(crate) columns: &'static [&'static str],
    /// Of each format, from 1: the version of the file that brought it, and how many columns it
    /// covers.
    pub(crate) formats: &'static [(i64, usize)],
    /// Appends a row: `seq`, `format`, the columns, `prev_hash`, `hash`. Made once: it is asked for
    /// with every row.
    pub(crate) insert: LazyLock<String>,
    /// Number and hash of the newest row.
    pub(crate) head: LazyLock<String>,
}

impl Chained {
    /// The format of a row that is written now.
    pub(crate) fn format(&self) -> i64 {
        i64::try_from(self.formats.len()).unwrap_or(i64::MAX)
    }

    /// How many columns a row of this format covers; none if the format is unknown.
    pub(crate) fn width(&self, format: i64) -> Option<usize> {
        let index = usize::try_from(format).ok()?.checked_sub(1)?;
        self.formats.get(index).map(|(_, width)| *width)
    }

    /// The columns that a file of this version has.
    pub(crate) fn columns_in(&self, version: i64) -> &'static [&'static str] {
        let width = self
            .formats
            .iter()
            .filter(|(since, _)| *since <= version)
            .map(|(_, width)| *width)
            .max();
        self.columns
            .get(..width.unwrap_or_default())
            .unwrap_or(self.columns)
    }

    fn insert(&self) -> String {
        let marks = vec!["?"; self.columns.len() + 4].join(", ");
        let (name, columns) = (self.name, self.columns.join(", "));
        format!("INSERT INTO {name} (seq, format, {columns}, prev_hash, hash) VALUES ({marks})")
    }

    fn head(&self) -> String {
        format!(
            "SELECT seq, hash FROM {} ORDER BY seq DESC LIMIT 1",
            self.name
        )
    }
}

/// Every state change and every refused command.
pub(crate) static AUDIT_LOG: Chained = Chained {
    name: "audit_log",
    columns: &[
        "at",
        "actor",
        "action",
        "throttle",
        "before",
        "after",
        "reason",
        "binding_signal",
        "request_id",
        "operator",
        "holds_taken",
        "holds_ended",
        "declares",
    ],
    formats: &[(1, 9), (FOURTH_VERSION, 12), (DECLARES_VERSION, 13)],
    insert: LazyLock::new(|| AUDIT_LOG.insert()),
    head: LazyLock::new(|| AUDIT_LOG.head()),
};

/// Every accepted payment event.
pub(crate) static EVIDENCE_LEDGER: Chained = Chained {
    name: "evidence_ledger",
    columns: &[
        "livemode",
        "account",
        "event_id",
        "kind",
        "created",
        "object_id",
        "amount",
        "currency",
        "raw",
        "digest",
        "signature",
        "received_at",
    ],
    formats: &[(1, 12)],
    insert: LazyLock::new(|| EVIDENCE_LEDGER.insert()),
    head: LazyLock::new(|| EVIDENCE_LEDGER.head()),
};

/// Drift and its repair.
pub(crate) static RECONCILIATION_LOG: Chained = Chained {
    name: "reconciliation_log",
    columns: &[
        "kind",
        "id",
        "throttle",
        "target",
        "field",
        "desired",
        "actual",
        "side",
        "who_manager",
        "who_operation",
        "who_subresource",
        "who_time",
        "first_seen",
        "last_seen",
        "count",
        "action",
        "error",
    ],
    formats: &[(1, 17)],
    insert: LazyLock::new(|| RECONCILIATION_LOG.insert()),
    head: LazyLock::new(|| RECONCILIATION_LOG.head()),
};

/// All of them.
pub(crate) static CHAINED: [&Chained; 3] = [&AUDIT_LOG, &EVIDENCE_LEDGER, &RECONCILIATION_LOG];

/// Version a file has once every migration ran.
pub(crate) const VERSION: i64 = 6;

/// The version that brought format 2 of the audit log.
const FOURTH_VERSION: i64 = 4;

/// The version that brought `journal_seen`.
pub(crate) const JOURNAL_SEEN: i64 = FOURTH_VERSION;

/// The version that brought what was offered beside each level.
pub(crate) const OFFERED_VERSION: i64 = 5;

/// The version that brought format 3 of the audit log.
const DECLARES_VERSION: i64 = 6;

const TABLES: &str = "
CREATE TABLE system_throttle (
    name TEXT PRIMARY KEY, declared REAL NOT NULL, effective REAL NOT NULL, generation INTEGER NOT NULL,
    updated_at TEXT
) STRICT;
CREATE TABLE system_state (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, source TEXT NOT NULL, throttle TEXT NOT NULL, state TEXT NOT NULL
) STRICT;
CREATE INDEX system_state_at ON system_state (at);
CREATE TABLE used_nonces (
    kind TEXT NOT NULL, livemode INTEGER NOT NULL, account TEXT NOT NULL, id TEXT NOT NULL,
    digest TEXT NOT NULL, used_at TEXT NOT NULL, expires_at TEXT,
    PRIMARY KEY (kind, livemode, account, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE holds (
    taken INTEGER PRIMARY KEY, epoch TEXT NOT NULL UNIQUE, scope TEXT NOT NULL, hold TEXT,
    ended INTEGER NOT NULL CHECK (ended IN (0, 1)), CHECK (ended = 1 OR hold IS NOT NULL)
) STRICT;
CREATE INDEX holds_live ON holds (taken) WHERE ended = 0;
CREATE TABLE intents (id TEXT PRIMARY KEY, throttle TEXT NOT NULL, audit_seq INTEGER) STRICT;
CREATE TABLE outbox (
    table_name TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, owed_since INTEGER NOT NULL,
    row TEXT NOT NULL, PRIMARY KEY (table_name, key)
) STRICT;
CREATE INDEX outbox_since ON outbox (owed_since);
CREATE TABLE outbox_versions (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL) STRICT;
INSERT INTO outbox_versions VALUES (1, 0);
CREATE TABLE audit_log (
    seq INTEGER PRIMARY KEY, format INTEGER NOT NULL,
    at TEXT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, throttle TEXT NOT NULL, before TEXT NOT NULL,
    after TEXT NOT NULL, reason TEXT NOT NULL, binding_signal TEXT NOT NULL, request_id TEXT NOT NULL,
    prev_hash TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE TABLE evidence_ledger (
    seq INTEGER PRIMARY KEY, format INTEGER NOT NULL,
    livemode INTEGER NOT NULL, account TEXT NOT NULL, event_id TEXT NOT NULL, kind TEXT NOT NULL,
    created INTEGER NOT NULL, object_id TEXT NOT NULL, amount INTEGER, currency TEXT, raw BLOB NOT NULL,
    digest TEXT NOT NULL, signature TEXT NOT NULL, received_at TEXT NOT NULL,
    prev_hash TEXT NOT NULL, hash TEXT NOT NULL, UNIQUE (livemode, account, event_id)
) STRICT;
CREATE TABLE reconciliation_log (
    seq INTEGER PRIMARY KEY, format INTEGER NOT NULL,
    kind TEXT NOT NULL, id TEXT NOT NULL, throttle TEXT, target TEXT, field TEXT, desired TEXT, actual TEXT,
    side TEXT, who_manager TEXT, who_operation TEXT, who_subresource TEXT, who_time TEXT, first_seen TEXT,
    last_seen TEXT, count INTEGER, action TEXT, error TEXT,
    prev_hash TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE TRIGGER holds_are_remembered BEFORE DELETE ON holds
    BEGIN SELECT RAISE(ABORT, 'holds are remembered for ever'); END;
CREATE TRIGGER holds_end_once BEFORE UPDATE ON holds WHEN OLD.ended = 1 AND NEW.ended = 0
    BEGIN SELECT RAISE(ABORT, 'an ended hold never bites again'); END;
";

/// The guards of one append-only table. The INSERT guard is there because INSERT OR REPLACE deletes
/// rows without asking the DELETE trigger.
fn guards(table: &str) -> String {
    format!(
        "CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table}
             BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;
         CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}
             BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;
         CREATE TRIGGER {table}_no_gap BEFORE INSERT ON {table}
             WHEN NEW.seq IS NOT (SELECT COALESCE(MAX(seq), 0) + 1 FROM {table})
             BEGIN SELECT RAISE(ABORT, '{table} is numbered without a gap'); END;\n"
    )
}

const EVENTS_STAY: &str = "
CREATE TRIGGER evidence_ledger_no_replace BEFORE INSERT ON evidence_ledger
    WHEN EXISTS (SELECT 1 FROM evidence_ledger
                 WHERE livemode = NEW.livemode AND account = NEW.account AND event_id = NEW.event_id)
    BEGIN SELECT RAISE(ABORT, 'this event is in the ledger'); END;
";

/// Version 2: answers to client keys, kept for as long as the key; what is in force of each
/// throttle beside its level.
const SECOND: &str = "
ALTER TABLE system_throttle ADD COLUMN source TEXT NOT NULL DEFAULT 'rest';
ALTER TABLE system_throttle ADD COLUMN killed INTEGER NOT NULL DEFAULT 0 CHECK (killed IN (0, 1));
ALTER TABLE system_throttle ADD COLUMN epoch TEXT;
ALTER TABLE system_throttle ADD COLUMN spec TEXT;
ALTER TABLE used_nonces ADD COLUMN answer TEXT;
CREATE INDEX used_nonces_expire ON used_nonces (expires_at) WHERE expires_at IS NOT NULL;
";

/// Version 3: how many rows the mirror was owed and will not get, since it was owed too many.
const THIRD: &str = "ALTER TABLE outbox_versions ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;";

/// Version 4: the audit log says who it was beside whose key it was, and which holds an entry took
/// and ended, so that the live ones follow from it alone. How many records the journal ever had, so
/// that an older one is told. And every filter of a page has its index: ordered by it, rows are in
/// their own order too.
const FOURTH: &str = "
ALTER TABLE audit_log ADD COLUMN operator TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_log ADD COLUMN holds_taken TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_log ADD COLUMN holds_ended TEXT NOT NULL DEFAULT '';
CREATE TABLE journal_seen (one INTEGER PRIMARY KEY CHECK (one = 1), ever INTEGER NOT NULL) STRICT;
CREATE INDEX audit_log_throttle ON audit_log (throttle);
CREATE INDEX audit_log_action ON audit_log (action);
CREATE INDEX reconciliation_log_throttle ON reconciliation_log (throttle);
CREATE INDEX reconciliation_log_action ON reconciliation_log (action);
CREATE INDEX evidence_ledger_kind ON evidence_ledger (kind);
CREATE INDEX system_state_throttle ON system_state (throttle);
CREATE INDEX system_state_source ON system_state (source);
";

/// Version 5: what was offered, beside the level in force; none where nobody knows.
const FIFTH: &str = "ALTER TABLE system_throttle ADD COLUMN offered TEXT;";

/// Version 6: the audit log says what is declared, so that a level and a specification follow from
/// it alone; and what it ended is found without reading all of it.
const SIXTH: &str = "
ALTER TABLE audit_log ADD COLUMN declares TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_log_ends ON audit_log (seq) WHERE holds_ended <> '';
";

/// Every column of a file, by table and name.
type Columns = BTreeSet<(String, String)>;

fn columns(conn: &Connection) -> rusqlite::Result<Columns> {
    let all = "SELECT one.name, of.name FROM sqlite_schema one, pragma_table_xinfo(one.name) of WHERE one.type = 'table'";
    conn.prepare_cached(all)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// What a file of today's version lacks of its tables and columns: somebody took it off.
pub(crate) fn lacking(conn: &Connection) -> rusqlite::Result<Option<String>> {
    static OURS: LazyLock<Columns> = LazyLock::new(|| {
        let ours = Connection::open_in_memory()
            .and_then(|conn| migrate(&conn)?.map_or(Ok(Columns::new()), |()| columns(&conn)));
        ours.unwrap_or_default()
    });
    let found = columns(conn)?;
    Ok(OURS.difference(&found).next().map(|(table, column)| {
        match found.iter().any(|(known, _)| known == table) {
            true => format!("the column {column} of {table} is gone"),
            false => format!("the table {table} is gone"),
        }
    }))
}

/// Brings a file to [`VERSION`]. Gives the version found where that is newer than this program
/// knows.
pub(crate) fn migrate(conn: &Connection) -> rusqlite::Result<Result<(), i64>> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found < 1 {
        conn.execute_batch(TABLES)?;
        for table in CHAINED {
            conn.execute_batch(&guards(table.name))?;
        }
        conn.execute_batch(EVENTS_STAY)?;
    }
    if found < 2 {
        conn.execute_batch(SECOND)?;
    }
    if found < 3 {
        conn.execute_batch(THIRD)?;
    }
    if found < FOURTH_VERSION {
        conn.execute_batch(FOURTH)?;
    }
    if found < OFFERED_VERSION {
        conn.execute_batch(FIFTH)?;
    }
    if found < DECLARES_VERSION {
        conn.execute_batch(SIXTH)?;
    }
    if found < VERSION {
        conn.pragma_update(None, "user_version", VERSION)?;
    }
    conn.execute_batch("COMMIT")?;
    Ok(if found > VERSION { Err(found) } else { Ok(()) })
}
