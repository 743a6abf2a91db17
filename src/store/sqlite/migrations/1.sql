-- Version 1. The guards of an append-only table stand three together; the one for INSERT is there because
-- INSERT OR REPLACE deletes rows without asking the one for DELETE. `verify` compares the text of each guard
-- with the one in the file it reads: what was released here stays as it is, blanks too.
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
CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log
             BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
             BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
CREATE TRIGGER audit_log_no_gap BEFORE INSERT ON audit_log
             WHEN NEW.seq IS NOT (SELECT COALESCE(MAX(seq), 0) + 1 FROM audit_log)
             BEGIN SELECT RAISE(ABORT, 'audit_log is numbered without a gap'); END;
CREATE TRIGGER evidence_ledger_no_update BEFORE UPDATE ON evidence_ledger
             BEGIN SELECT RAISE(ABORT, 'evidence_ledger is append-only'); END;
CREATE TRIGGER evidence_ledger_no_delete BEFORE DELETE ON evidence_ledger
             BEGIN SELECT RAISE(ABORT, 'evidence_ledger is append-only'); END;
CREATE TRIGGER evidence_ledger_no_gap BEFORE INSERT ON evidence_ledger
             WHEN NEW.seq IS NOT (SELECT COALESCE(MAX(seq), 0) + 1 FROM evidence_ledger)
             BEGIN SELECT RAISE(ABORT, 'evidence_ledger is numbered without a gap'); END;
CREATE TRIGGER reconciliation_log_no_update BEFORE UPDATE ON reconciliation_log
             BEGIN SELECT RAISE(ABORT, 'reconciliation_log is append-only'); END;
CREATE TRIGGER reconciliation_log_no_delete BEFORE DELETE ON reconciliation_log
             BEGIN SELECT RAISE(ABORT, 'reconciliation_log is append-only'); END;
CREATE TRIGGER reconciliation_log_no_gap BEFORE INSERT ON reconciliation_log
             WHEN NEW.seq IS NOT (SELECT COALESCE(MAX(seq), 0) + 1 FROM reconciliation_log)
             BEGIN SELECT RAISE(ABORT, 'reconciliation_log is numbered without a gap'); END;
CREATE TRIGGER evidence_ledger_no_replace BEFORE INSERT ON evidence_ledger
    WHEN EXISTS (SELECT 1 FROM evidence_ledger
                 WHERE livemode = NEW.livemode AND account = NEW.account AND event_id = NEW.event_id)
    BEGIN SELECT RAISE(ABORT, 'this event is in the ledger'); END;
