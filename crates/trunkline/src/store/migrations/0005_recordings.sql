-- Each recording is a row of its own: that of the call, and those that steps of its flow make.

CREATE TABLE recordings (
    call_id     TEXT NOT NULL,
    number      BIGINT NOT NULL, -- 0: the call's own, of both sides
    account     BIGINT NOT NULL,
    file        TEXT NOT NULL,
    created_at  BIGINT NOT NULL, -- when it was begun
    duration_ms BIGINT, -- null until it is whole
    PRIMARY KEY (call_id, number)
);

CREATE INDEX recordings_of_account ON recordings (account, created_at, call_id, number);
CREATE INDEX recordings_by_age ON recordings (created_at, call_id, number);
CREATE INDEX recordings_unmeasured ON recordings (call_id) WHERE duration_ms IS NULL;

INSERT INTO recordings (call_id, number, account, file, created_at)
    SELECT id, 0, account, recording, COALESCE(answered_at, created_at) FROM calls WHERE recording IS NOT NULL;

DROP INDEX calls_recorded;
ALTER TABLE calls DROP COLUMN recording;
