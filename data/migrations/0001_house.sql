-- Sessions, journal, identities, leases, approvals, orders and books.
-- Identities stand in unpartitioned tables: PostgreSQL cannot keep a key unique across partitions.

CREATE TABLE model (
    model_id      text PRIMARY KEY,          -- sha256 over agent, horizon, trained_until, params
    agent         text NOT NULL,
    horizon       integer NOT NULL,
    trained_until bigint NOT NULL,           -- ns UTC: no bar at or after this moment was used
    params        bytea NOT NULL,            -- little-endian float64
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE session (
    session_id text PRIMARY KEY,
    cell       integer NOT NULL,
    account    text NOT NULL,
    mode       text NOT NULL CHECK (mode IN ('historical', 'paper', 'live')),
    config     bytea NOT NULL,               -- data.records.SessionConfig as JSON
    opened_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE session_end (
    session_id text PRIMARY KEY REFERENCES session,
    status     text NOT NULL CHECK (status IN ('finished', 'stopped', 'failed')),
    detail     text NOT NULL,
    ended_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One hash chain per writer: cell/<n>, account/<name>, operations.
CREATE TABLE journal (
    chain        text NOT NULL,
    seq          bigint NOT NULL,
    kind         text NOT NULL,
    session_id   text NOT NULL,
    ts           bigint NOT NULL,            -- event time, ns UTC
    written_ns   bigint NOT NULL,            -- the writer's wall clock, ns UTC
    seen         bytea NOT NULL,             -- JSON object: other chain -> its last number seen
    payload      bytea NOT NULL,             -- JSON
    prev_hash    bytea NOT NULL,
    hash         bytea NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp()
) PARTITION BY RANGE (committed_at);
CREATE TABLE journal_default PARTITION OF journal DEFAULT;
CREATE INDEX journal_chain_seq ON journal (chain, seq);

CREATE TABLE journal_identity (
    chain text NOT NULL,
    seq   bigint NOT NULL,
    hash  bytea NOT NULL,
    PRIMARY KEY (chain, seq)
);

CREATE TABLE round_input (
    cell       integer NOT NULL,
    round      bigint NOT NULL,
    session_id text NOT NULL,
    seq        bigint NOT NULL,
    PRIMARY KEY (cell, round)
);
CREATE INDEX round_input_session ON round_input (session_id, round);

CREATE TABLE round_output (
    cell       integer NOT NULL,
    round      bigint NOT NULL,
    session_id text NOT NULL,
    seq        bigint NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('output', 'aborted')),
    epoch      bigint NOT NULL,
    PRIMARY KEY (cell, round)
);

CREATE TABLE request_identity (
    request_id text PRIMARY KEY,
    body_hash  bytea NOT NULL,
    cell       integer NOT NULL,
    round      bigint NOT NULL
);

CREATE TABLE decision_identity (
    session_id text NOT NULL,
    symbol     text NOT NULL,
    ts         bigint NOT NULL,
    bar_hash   bytea NOT NULL,
    cell       integer NOT NULL,
    round      bigint NOT NULL,
    PRIMARY KEY (session_id, symbol, ts)
);

CREATE TABLE approval (
    session_id  text NOT NULL,
    symbol      text NOT NULL,
    ts          bigint NOT NULL,
    account     text NOT NULL,
    cell        integer NOT NULL,
    round       bigint NOT NULL,
    epoch       bigint NOT NULL,
    side        smallint NOT NULL CHECK (side IN (-1, 1)),
    max_lots    bigint NOT NULL CHECK (max_lots > 0),
    limit_ticks bigint NOT NULL CHECK (limit_ticks > 0),
    net_lots    bigint NOT NULL,             -- position plus open orders it was computed from
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (session_id, symbol, ts)
);

CREATE TABLE gate_lease (
    cell     integer PRIMARY KEY,
    epoch    bigint NOT NULL,
    holder   text NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE trader_lease (
    account    text PRIMARY KEY,
    epoch      bigint NOT NULL,
    holder     text NOT NULL,
    expires_at timestamptz NOT NULL
);

-- scope '*' is the whole system (an operator's halt), else one account.
CREATE TABLE trading_state (
    scope  text PRIMARY KEY,
    state  text NOT NULL CHECK (state IN ('ACTIVE', 'REDUCING', 'HALTED')),
    reason text NOT NULL,
    seq    bigint NOT NULL,                  -- number of the operations record that set it
    since  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE account (
    account        text PRIMARY KEY,
    session_id     text NOT NULL,
    opening_micro  bigint NOT NULL,
    cash_micro     bigint NOT NULL,
    reserved_micro bigint NOT NULL DEFAULT 0,
    equity_micro   bigint NOT NULL,
    peak_micro     bigint NOT NULL,
    day            bigint NOT NULL DEFAULT 0, -- event day (days since 1970-01-01 UTC)
    day_open_micro bigint NOT NULL,
    mark_ts        bigint NOT NULL DEFAULT 0
);

CREATE TABLE position (
    account    text NOT NULL,
    symbol     text NOT NULL,
    lots       bigint NOT NULL,
    cost_micro bigint NOT NULL,              -- signed amount paid for the lots held
    mark_ticks bigint NOT NULL,
    lock_code  text,                         -- reason code of a quarantined bar that locked it
    PRIMARY KEY (account, symbol)
);

CREATE TABLE orders (
    client_order_id text PRIMARY KEY,
    session_id      text NOT NULL,
    account         text NOT NULL,
    symbol          text NOT NULL,
    ts              bigint NOT NULL,
    origin          text NOT NULL CHECK (origin IN ('decision', 'operator')),
    side            smallint NOT NULL CHECK (side IN (-1, 1)),
    lots            bigint NOT NULL CHECK (lots > 0),
    limit_ticks     bigint NOT NULL CHECK (limit_ticks > 0),
    epoch           bigint,                  -- of the approval; null for an operator's order
    reserved_micro  bigint NOT NULL CHECK (reserved_micro >= 0),
    send_by         timestamptz NOT NULL,
    seq             bigint NOT NULL,         -- number in the account's chain
    status          text NOT NULL CHECK (status IN ('open', 'filled', 'expired', 'cancelled')),
    filled_lots     bigint NOT NULL DEFAULT 0
);
CREATE INDEX orders_open ON orders (account) WHERE status = 'open';
CREATE INDEX orders_recent ON orders (account, ts);
CREATE INDEX orders_decision ON orders (session_id, symbol, ts);

CREATE TABLE fill (
    fill_id         text PRIMARY KEY,
    client_order_id text NOT NULL REFERENCES orders,
    account         text NOT NULL,
    symbol          text NOT NULL,
    ts              bigint NOT NULL,
    side            smallint NOT NULL,
    lots            bigint NOT NULL CHECK (lots > 0),
    price_ticks     bigint NOT NULL CHECK (price_ticks > 0),
    fee_micro       bigint NOT NULL CHECK (fee_micro >= 0),
    seq             bigint NOT NULL
);

-- Each role writes its own tables and no others; history tables take inserts only.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO sapphire_read;
GRANT sapphire_read TO sapphire_coordinator, sapphire_gate, sapphire_trader, sapphire_ops;
GRANT INSERT ON journal, journal_identity
    TO sapphire_coordinator, sapphire_gate, sapphire_trader, sapphire_ops;
GRANT INSERT ON round_input, round_output, request_identity, decision_identity
    TO sapphire_coordinator;
GRANT INSERT ON round_output, approval TO sapphire_gate;
GRANT INSERT, UPDATE ON gate_lease TO sapphire_gate;
GRANT INSERT, UPDATE ON trader_lease, account, position, orders TO sapphire_trader;
GRANT INSERT, UPDATE ON trading_state TO sapphire_trader, sapphire_ops;
GRANT INSERT ON fill, session_end TO sapphire_trader;
GRANT UPDATE (lock_code) ON position TO sapphire_ops;
GRANT INSERT ON session, session_end, model TO sapphire_ops;
