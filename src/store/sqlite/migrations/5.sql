-- Version 5: what was offered, beside the level in force; none where nobody knows.
ALTER TABLE system_throttle ADD COLUMN offered TEXT;
