-- Tuning studies and the ledger of locked segments. Inserts only. The same statements make the
-- SQLite file of a machine without PostgreSQL (tuning.study.database), so: no types or defaults
-- that only one of them knows, and grants stand in a file of their own.

CREATE TABLE study (
    name       text PRIMARY KEY,
    spec       text NOT NULL,      -- tuning.study.contract.StudySpec as JSON
    created_ns bigint NOT NULL
);

CREATE TABLE study_trial (
    study       text NOT NULL REFERENCES study (name),
    number      bigint NOT NULL,
    generation  bigint NOT NULL,
    config      text NOT NULL,     -- JSON object
    status      text NOT NULL CHECK (status IN ('complete', 'pruned', 'failed')),
    vals        text NOT NULL,     -- JSON: per objective
    folds       text NOT NULL,     -- JSON: per evaluated fold, per objective
    returns     bytea NOT NULL,    -- little-endian float32, one per test moment
    error       text NOT NULL,
    seconds     double precision NOT NULL,
    PRIMARY KEY (study, number)
);

-- What happened to a study: resumed, code changed, finished, evidence.
CREATE TABLE study_event (
    study   text NOT NULL REFERENCES study (name),
    seq     bigint NOT NULL,
    kind    text NOT NULL,
    detail  text NOT NULL,         -- JSON
    at_ns   bigint NOT NULL,
    PRIMARY KEY (study, seq)
);

-- A segment counts as shown from the moment that its opening is on record, whatever came of it.
CREATE TABLE segment_opening (
    opening_id text PRIMARY KEY,   -- sha256 over study, segment and candidates
    study      text NOT NULL,
    symbols    text NOT NULL,      -- JSON list, sorted
    from_ts    bigint NOT NULL,    -- ns UTC, inclusive
    until_ts   bigint NOT NULL,    -- exclusive
    content    text NOT NULL,      -- sha256 over the bars
    candidates text NOT NULL,      -- JSON list of hashes of what was shown
    opened_ns  bigint NOT NULL
);
CREATE INDEX segment_opening_interval ON segment_opening (from_ts, until_ts);
