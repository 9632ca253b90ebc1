-- One schema for SQLite and PostgreSQL: only TEXT and BIGINT, times in Unix milliseconds, flags 0 or 1, lists and
-- documents as JSON text.

CREATE TABLE facts (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE accounts (
    id         BIGINT NOT NULL PRIMARY KEY, -- 0 is the operator's own
    name       TEXT NOT NULL,
    countries  TEXT NOT NULL,
    region     TEXT,
    max_calls  BIGINT,
    created_at BIGINT NOT NULL
);

CREATE TABLE numbers (
    id         BIGINT NOT NULL PRIMARY KEY,
    account    BIGINT NOT NULL REFERENCES accounts (id),
    number     TEXT NOT NULL UNIQUE, -- E.164
    created_at BIGINT NOT NULL
);

CREATE TABLE keys (
    id           TEXT NOT NULL PRIMARY KEY,
    account      BIGINT NOT NULL REFERENCES accounts (id),
    name         TEXT NOT NULL,
    operator     BIGINT NOT NULL,
    scopes       TEXT NOT NULL,
    sources      TEXT NOT NULL,
    prefix       TEXT NOT NULL,
    hash         TEXT NOT NULL UNIQUE, -- SHA-256, hex
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT,
    revoked_at   BIGINT
);

CREATE TABLE trunks (
    id          TEXT NOT NULL PRIMARY KEY,
    account     BIGINT NOT NULL REFERENCES accounts (id),
    name        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    host        TEXT NOT NULL,
    port        BIGINT NOT NULL,
    transport   TEXT NOT NULL,
    username    TEXT,
    password    TEXT, -- sealed
    digest      TEXT NOT NULL,
    number_form TEXT NOT NULL,
    prefix      TEXT,
    caller_id   TEXT,
    priority    BIGINT NOT NULL,
    is_default  BIGINT NOT NULL,
    enabled     BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    UNIQUE (account, name)
);

CREATE TABLE calls (
    id          TEXT NOT NULL PRIMARY KEY,
    account     BIGINT NOT NULL REFERENCES accounts (id),
    direction   TEXT NOT NULL,
    face        TEXT NOT NULL,
    from_number TEXT,
    to_number   TEXT NOT NULL,
    kind        TEXT NOT NULL,
    trunk       TEXT, -- outlives the trunk
    trunk_name  TEXT,
    state       TEXT NOT NULL,
    rank        BIGINT NOT NULL, -- of the state: it only grows
    cause_code  TEXT,
    cause_text  TEXT,
    cause_hint  TEXT,
    sip_status  BIGINT,
    q850        BIGINT,
    hangup_by   TEXT,
    sip_call_id TEXT,
    audio_file  TEXT,
    spoken      TEXT,
    flow        TEXT NOT NULL,
    recording   TEXT,
    created_at  BIGINT NOT NULL,
    ringing_at  BIGINT,
    answered_at BIGINT,
    ended_at    BIGINT,
    quality     TEXT,
    heard       TEXT
);

CREATE INDEX calls_of_account ON calls (account, created_at, id);
CREATE INDEX calls_by_age ON calls (created_at, id);
CREATE INDEX calls_by_leg ON calls (sip_call_id);
CREATE INDEX calls_unfinished ON calls (id) WHERE ended_at IS NULL;

CREATE TABLE events (
    call_id  TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    account  BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    detail   TEXT NOT NULL,
    PRIMARY KEY (call_id, sequence)
);
