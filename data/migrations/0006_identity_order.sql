-- A decision's identity grows at the right end of its index, where time is; with the symbol first
-- each round touched as many pages as it had symbols, and each page was logged whole.

ALTER TABLE decision_identity DROP CONSTRAINT decision_identity_pkey;
ALTER TABLE decision_identity ADD CONSTRAINT decision_identity_pkey
    PRIMARY KEY (session_id, ts, symbol);

-- Nothing is updated or deleted in these: vacuum has nothing to do but freeze, in its time.
ALTER TABLE decision_identity SET (autovacuum_vacuum_insert_threshold = -1);
ALTER TABLE request_identity SET (autovacuum_vacuum_insert_threshold = -1);
ALTER TABLE journal_identity SET (autovacuum_vacuum_insert_threshold = -1);
ALTER TABLE journal_default SET (autovacuum_vacuum_insert_threshold = -1);
