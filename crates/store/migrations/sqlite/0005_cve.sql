-- When a vulnerability was first aimed at, in each domain, and by which event;
-- id is domain/cve. What is to be announced of them waits in announcement;
-- its id is hook/cve.
CREATE TABLE cve (
    id           TEXT   NOT NULL PRIMARY KEY,
    cve          TEXT   NOT NULL,
    domain       TEXT   NOT NULL,
    first_seen   BIGINT NOT NULL,
    last_seen    BIGINT NOT NULL,
    first_event  TEXT   NOT NULL,
    first_source TEXT,
    first_sensor TEXT   NOT NULL,
    category     TEXT
);
CREATE INDEX cve_cve ON cve (cve);
CREATE INDEX cve_first_seen ON cve (first_seen);

CREATE TABLE announcement (
    id         TEXT   NOT NULL PRIMARY KEY,
    hook       TEXT   NOT NULL,
    cve        TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    due_at     BIGINT NOT NULL,
    attempts   BIGINT NOT NULL
);
CREATE INDEX announcement_due_at ON announcement (hook, due_at);
