-- Champions, proposals of champions, and runs of the retune loop. Inserts only: what is in force is
-- told by the operations chain alone (data.models_in_force).

CREATE TABLE champion (
    champion_id   text PRIMARY KEY,      -- sha256 over all that stands below, but for the last two
    agent         text NOT NULL,
    model_id      text NOT NULL REFERENCES model,
    symbol_group  text NOT NULL,
    horizon       integer NOT NULL CHECK (horizon > 0),
    bars_per_year integer NOT NULL CHECK (bars_per_year > 0),
    trained_until bigint NOT NULL,       -- ns UTC: no bar at or after this moment was used
    study         text NOT NULL,
    trial         integer NOT NULL,
    config        text NOT NULL,         -- JSON: the trial's configuration
    provenance    text NOT NULL,         -- JSON: data hash, code, seed, spec of the study
    evidence      text NOT NULL,         -- JSON: figures, rules, and the incumbent judged against
    promoted_by   text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX champion_model ON champion (model_id);

-- A candidate that a retune found and judged, for a person to look at.
CREATE TABLE champion_proposal (
    proposal_id text PRIMARY KEY,        -- sha256 over candidate and params
    target      text NOT NULL,
    agent       text NOT NULL,
    passes      boolean NOT NULL,        -- whether every rule passed
    candidate   text NOT NULL,           -- JSON: the candidate and each rule's outcome
    params      bytea NOT NULL,          -- little-endian float64
    proposed_by text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE retune_run (
    started_ns bigint PRIMARY KEY        -- UTC
);

CREATE TABLE retune_end (
    started_ns bigint PRIMARY KEY REFERENCES retune_run,
    ended_ns   bigint NOT NULL,
    status     text NOT NULL CHECK (status IN ('finished', 'failed')),
    detail     text NOT NULL             -- one line for each thing done
);

GRANT SELECT ON champion, champion_proposal, retune_run, retune_end TO sapphire_read;
GRANT INSERT ON champion, champion_proposal, retune_run, retune_end TO sapphire_ops;
