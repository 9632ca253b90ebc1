-- What an account may do, keys that end, requests carried out once, one order over all events.

ALTER TABLE accounts ADD COLUMN prefixes TEXT NOT NULL DEFAULT '[]';
ALTER TABLE accounts ADD COLUMN calls_per_second BIGINT;
ALTER TABLE accounts ADD COLUMN max_duration_s BIGINT;

ALTER TABLE keys ADD COLUMN expires_at BIGINT;
UPDATE keys SET scopes = REPLACE(REPLACE(REPLACE(scopes, '"trunks"', '"trunks:read","trunks:write"'),
    '"keys"', '"keys:read","keys:write"'), '"calls:read"', '"calls:read","events:read","recordings:read"');

ALTER TABLE calls ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
CREATE INDEX calls_recorded ON calls (account, created_at, id) WHERE recording IS NOT NULL;

CREATE TABLE idempotency (
    account    BIGINT NOT NULL,
    name       TEXT NOT NULL, -- the request's Idempotency-Key
    hash       TEXT NOT NULL, -- of what was asked
    call_id    TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account, name)
);

CREATE INDEX idempotency_by_age ON idempotency (created_at);
CREATE INDEX idempotency_of_call ON idempotency (call_id);

-- Events are read in the order in which they were committed.
ALTER TABLE events ADD COLUMN ordinal BIGINT NOT NULL DEFAULT 0;
UPDATE events SET ordinal = numbered.ordinal
    FROM (SELECT call_id, sequence, ROW_NUMBER() OVER (ORDER BY at, call_id, sequence) AS ordinal FROM events) AS numbered
    WHERE numbered.call_id = events.call_id AND numbered.sequence = events.sequence;
CREATE INDEX events_in_order ON events (ordinal);
CREATE INDEX events_of_account ON events (account, ordinal);
