-- What a SIP server knows: domains and realms of accounts, their users and groups, where calls to their numbers go,
-- and what trunks that call in identify themselves by.

ALTER TABLE accounts ADD COLUMN domain TEXT;
ALTER TABLE accounts ADD COLUMN realm TEXT; -- null until the next start: it depends on the settings
ALTER TABLE accounts ADD COLUMN max_users BIGINT;
ALTER TABLE accounts ADD COLUMN max_registrations BIGINT;
CREATE UNIQUE INDEX accounts_by_domain ON accounts (domain);

CREATE TABLE users (
    id           TEXT NOT NULL PRIMARY KEY,
    account      BIGINT NOT NULL REFERENCES accounts (id),
    username     TEXT NOT NULL,
    display_name TEXT,
    external_id  TEXT,
    ha1_md5      TEXT NOT NULL, -- sealed
    ha1_sha256   TEXT NOT NULL, -- sealed
    algorithm    TEXT NOT NULL,
    enabled      BIGINT NOT NULL,
    caller_ids   TEXT NOT NULL,
    may_call     TEXT NOT NULL,
    max_calls    BIGINT,
    max_bindings BIGINT NOT NULL,
    voicemail    BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    UNIQUE (account, username),
    UNIQUE (account, external_id)
);

CREATE TABLE groups (
    id         TEXT NOT NULL PRIMARY KEY,
    account    BIGINT NOT NULL REFERENCES accounts (id),
    name       TEXT NOT NULL,
    strategy   TEXT NOT NULL,
    members    TEXT NOT NULL, -- ids of users
    timeout_s  BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (account, name)
);

-- The same number may exist in two accounts.
CREATE TABLE new_numbers (
    id         BIGINT NOT NULL PRIMARY KEY,
    account    BIGINT NOT NULL REFERENCES accounts (id),
    number     TEXT NOT NULL, -- E.164
    name       TEXT NOT NULL,
    trunk      TEXT, -- only calls from this one
    route      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (account, number)
);
INSERT INTO new_numbers (id, account, number, name, route, created_at)
    SELECT id, account, number, '', '[]', created_at FROM numbers;
DROP TABLE numbers;
ALTER TABLE new_numbers RENAME TO numbers;

ALTER TABLE trunks ADD COLUMN inbound_ha1_md5 TEXT; -- sealed
ALTER TABLE trunks ADD COLUMN inbound_ha1_sha256 TEXT; -- sealed
