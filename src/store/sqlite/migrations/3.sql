-- Version 3: how many rows the mirror was owed and will not get, since it was owed too many.
ALTER TABLE outbox_versions ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;
