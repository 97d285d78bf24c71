-- News as it was posted, and the round that each item entered. Both take inserts only. The round's
-- row is written in the same statement as the round's input record: its key keeps an item out of a
-- second round, also over a restart of the coordinator.

CREATE TABLE news_item (
    session_id  text NOT NULL REFERENCES session,
    id          text NOT NULL,
    symbol      text NOT NULL,
    ts          bigint NOT NULL,             -- ns UTC: when the text became known
    text        text NOT NULL,
    body_hash   bytea NOT NULL,
    received_ns bigint NOT NULL,             -- the coordinator's wall clock, ns UTC
    PRIMARY KEY (session_id, id)
);

CREATE TABLE news_round (
    session_id text NOT NULL,
    id         text NOT NULL,
    cell       integer NOT NULL,
    round      bigint NOT NULL,
    PRIMARY KEY (session_id, id),
    FOREIGN KEY (session_id, id) REFERENCES news_item
);

GRANT SELECT ON news_item, news_round TO sapphire_read;
GRANT INSERT ON news_item, news_round TO sapphire_coordinator;
