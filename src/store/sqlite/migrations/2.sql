-- Version 2: answers to client keys, kept for as long as the key; what is in force of each throttle beside
-- its level.
ALTER TABLE system_throttle ADD COLUMN source TEXT NOT NULL DEFAULT 'rest';
ALTER TABLE system_throttle ADD COLUMN killed INTEGER NOT NULL DEFAULT 0 CHECK (killed IN (0, 1));
ALTER TABLE system_throttle ADD COLUMN epoch TEXT;
ALTER TABLE system_throttle ADD COLUMN spec TEXT;
ALTER TABLE used_nonces ADD COLUMN answer TEXT;
CREATE INDEX used_nonces_expire ON used_nonces (expires_at) WHERE expires_at IS NOT NULL;
