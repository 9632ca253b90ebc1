-- What was said on the SIP legs of a call and what it sounded like: masked, packed, swept with the call.

CREATE TABLE insights (
    call_id    TEXT PRIMARY KEY,
    account    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    data       TEXT NOT NULL -- JSON, deflated, in base64
);
