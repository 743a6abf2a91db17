-- Version 4: the audit log says who it was beside whose key it was, and which holds an entry took and ended,
-- so that the live ones follow from it alone. How many records the journal ever had, so that an older one is
-- told. And every filter of a page has its index: ordered by it, rows are in their own order too.
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
