-- Machines that tell of themselves. What they are known by is the credential
-- that they deliver with; their name is only what they say.
CREATE TABLE host (
    id           TEXT   NOT NULL PRIMARY KEY,
    sensor      TEXT   NOT NULL,
    source      TEXT   NOT NULL,
    address     TEXT,
    name        TEXT,
    former_name TEXT,
    os          TEXT,
    sample      TEXT,
    audit       TEXT,
    first_seen  BIGINT NOT NULL,
    last_seen   BIGINT NOT NULL,
    renamed_at  BIGINT,
    sample_at   BIGINT,
    sample_gap  BIGINT,
    audited_at  BIGINT,
    score       BIGINT,
    silent_since BIGINT
);

-- Parts of inventories; the newest snapshot of a section counts.
CREATE TABLE host_section (
    id           TEXT   NOT NULL PRIMARY KEY,
    host        TEXT   NOT NULL,
    section     TEXT   NOT NULL,
    snapshot    TEXT   NOT NULL,
    unseen      TEXT,
    data        TEXT   NOT NULL,
    part        BIGINT NOT NULL,
    parts       BIGINT NOT NULL,
    entries     BIGINT NOT NULL,
    left_out    BIGINT NOT NULL,
    at          BIGINT NOT NULL
);
CREATE INDEX host_section_host ON host_section (host);

-- What is wrong with a machine now.
CREATE TABLE host_alert (
    id           TEXT   NOT NULL PRIMARY KEY,
    host        TEXT   NOT NULL,
    detail      TEXT   NOT NULL,
    since       BIGINT NOT NULL
);
CREATE INDEX host_alert_host ON host_alert (host);

-- Checks that fail on a machine, or did.
CREATE TABLE finding (
    id           TEXT   NOT NULL PRIMARY KEY,
    host        TEXT   NOT NULL,
    check_id    TEXT   NOT NULL,
    title       TEXT   NOT NULL,
    severity    TEXT   NOT NULL,
    area        TEXT   NOT NULL,
    detail      TEXT   NOT NULL,
    reason      TEXT,
    opened_at   BIGINT NOT NULL,
    closed_at   BIGINT,
    changed_at  BIGINT NOT NULL
);
CREATE INDEX finding_host ON finding (host);

-- Findings that are not to be counted for a while; of all machines where none
-- is named.
CREATE TABLE suppression (
    id           TEXT   NOT NULL PRIMARY KEY,
    check_id    TEXT   NOT NULL,
    host        TEXT,
    reason      TEXT   NOT NULL,
    made_by     TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    until_at    BIGINT NOT NULL
);
