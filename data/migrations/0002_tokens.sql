-- Access tokens of the HTTP surfaces. A secret is 256 random bits, so a plain SHA-256 is right at
-- rest: there is nothing to guess, and slow hashing would only slow the service down. Reading this
-- table gives nobody access.

CREATE TABLE api_token (
    token_id    text PRIMARY KEY CHECK (token_id ~ '^[0-9a-f]{12}$'),
    name        text NOT NULL CHECK (name <> ''),
    secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    scopes      text[] NOT NULL CHECK (scopes <@ ARRAY['read', 'decide', 'operate']
                                       AND cardinality(scopes) > 0),
    rate_per_s  integer NOT NULL CHECK (rate_per_s BETWEEN 1 AND 1000000),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by  text NOT NULL,
    revoked_at  timestamptz
);
CREATE INDEX api_token_live ON api_token (created_at) WHERE revoked_at IS NULL;

GRANT SELECT ON api_token TO sapphire_read, sapphire_coordinator;
GRANT INSERT, UPDATE (revoked_at) ON api_token TO sapphire_ops;
