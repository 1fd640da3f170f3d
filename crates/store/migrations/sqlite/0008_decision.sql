-- Decisions of all sensors and operators, past ones too. `seq` numbers what
-- went to agents and bouncers; it is empty for what is never carried out
-- (simulated, withheld by the allowlist, over when it came). `low` and `high`
-- are the first and last address of the target as 32 hex digits of IPv6.
-- `ended_at` is when it is over, by its length or because it was lifted.
CREATE TABLE decision (
    id            TEXT   NOT NULL PRIMARY KEY,
    type          TEXT   NOT NULL,
    target        TEXT   NOT NULL,
    low           TEXT   NOT NULL,
    high          TEXT   NOT NULL,
    scenario      TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    alert         TEXT   NOT NULL,
    evidence      TEXT   NOT NULL,
    origin        TEXT   NOT NULL,
    origin_name   TEXT,
    host          TEXT,
    note          TEXT,
    withheld      TEXT,
    ended_by      TEXT,
    end_reason    TEXT,
    seq           BIGINT UNIQUE,
    from_at       BIGINT NOT NULL,
    duration_secs BIGINT NOT NULL,
    ended_at      BIGINT NOT NULL,
    noted_at      BIGINT NOT NULL,
    simulated     BIGINT NOT NULL
);
CREATE INDEX decision_noted_at ON decision (noted_at, id);
CREATE INDEX decision_ended_at ON decision (ended_at);
CREATE INDEX decision_target ON decision (target);
CREATE INDEX decision_low ON decision (low);

-- Whose decisions were ended before their time, numbered together with them.
CREATE TABLE decision_lift (
    id        TEXT   NOT NULL PRIMARY KEY,
    target    TEXT   NOT NULL,
    lifted_by TEXT   NOT NULL,
    reason    TEXT,
    seq       BIGINT NOT NULL UNIQUE,
    at        BIGINT NOT NULL,
    noted_at  BIGINT NOT NULL
);
CREATE INDEX decision_lift_target ON decision_lift (target, at);

-- Whom no decision of this hub is about.
CREATE TABLE allow_entry (
    value      TEXT   NOT NULL PRIMARY KEY,
    reason     TEXT,
    created_by TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    until_at   BIGINT
);

-- CrowdSec bouncers, one row a key and address: id is key/address. What one
-- has been told is everything up to last_seq.
CREATE TABLE bouncer (
    id         TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL,
    address    TEXT   NOT NULL,
    agent      TEXT   NOT NULL,
    last_seq   BIGINT NOT NULL,
    last_pull  BIGINT NOT NULL
);
