-- Version 6: the audit log says what is declared, so that a level and a specification follow from it alone;
-- and what it ended is found without reading all of it.
ALTER TABLE audit_log ADD COLUMN declares TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_log_ends ON audit_log (seq) WHERE holds_ended <> '';
