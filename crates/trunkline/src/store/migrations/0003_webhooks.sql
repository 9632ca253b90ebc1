-- Webhook endpoints, the outbox of what is to be delivered to them, and what a restart needs to end the legs that a
-- crash left open.

CREATE TABLE webhooks (
    id           TEXT NOT NULL PRIMARY KEY,
    account      BIGINT NOT NULL REFERENCES accounts (id),
    url          TEXT NOT NULL,
    description  TEXT NOT NULL,
    events       TEXT NOT NULL, -- types of events, or "*"
    secret       TEXT NOT NULL, -- sealed
    old_secret   TEXT, -- sealed; signs too until old_until
    old_until    BIGINT,
    enabled      BIGINT NOT NULL,
    disabled_why TEXT,
    created_at   BIGINT NOT NULL
);

CREATE INDEX webhooks_of_account ON webhooks (account);

CREATE TABLE deliveries (
    id            TEXT NOT NULL PRIMARY KEY, -- the same on every repeat
    webhook       TEXT NOT NULL,
    account       BIGINT NOT NULL,
    call_id       TEXT, -- a test belongs to none
    sequence      BIGINT NOT NULL, -- of the call's event
    kind          TEXT NOT NULL, -- the type of event
    state         TEXT NOT NULL, -- pending, delivered or dead
    created_at    BIGINT NOT NULL,
    due_at        BIGINT NOT NULL, -- not before
    pending_since BIGINT NOT NULL, -- a replay begins anew
    tries         BIGINT NOT NULL, -- failed ones since then
    attempts      BIGINT NOT NULL, -- begun ones in all
    ended_at      BIGINT,
    UNIQUE (webhook, call_id, sequence)
);

CREATE INDEX deliveries_due ON deliveries (webhook, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_of_account ON deliveries (account, id);
CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE attempts (
    delivery TEXT NOT NULL,
    number   BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    ms       BIGINT, -- null: the server ended before the answer came
    status   BIGINT,
    error    TEXT,
    PRIMARY KEY (delivery, number)
);

CREATE TABLE legs (
    sip_call_id TEXT NOT NULL PRIMARY KEY,
    call_id     TEXT NOT NULL,
    saved       TEXT NOT NULL
);

CREATE INDEX legs_of_call ON legs (call_id);
CREATE INDEX calls_ended ON calls (ended_at) WHERE ended_at IS NOT NULL;
