-- Memories of committed rounds: a cache of the log, so that a restart reads a bounded stretch of it.

CREATE TABLE snapshot (
    cell       integer NOT NULL,
    session_id text NOT NULL,
    part       text NOT NULL,                -- an agent's name, or 'pool'
    round      bigint NOT NULL,              -- the last round that is in it
    code       text NOT NULL,                -- hash of the code that wrote it and may read it
    hash       bytea NOT NULL,               -- sha256 of the payload
    payload    bytea NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (cell, session_id, part, round)
);
-- Floats hardly compress: do not try.
ALTER TABLE snapshot ALTER payload SET STORAGE EXTERNAL;

GRANT SELECT ON snapshot TO sapphire_read;
-- The two newest of a part are kept: what is deleted can be made again from the log.
GRANT INSERT, DELETE ON snapshot TO sapphire_gate;
