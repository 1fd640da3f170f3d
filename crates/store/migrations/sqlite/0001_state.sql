-- State that is not events. Times are milliseconds since the Unix epoch (UTC),
-- hashes are SHA-256 in 64 lower-case hex digits, addresses are text. Only
-- types and clauses that PostgreSQL has too, but for AUTOINCREMENT.

CREATE TABLE account (
    name          TEXT    NOT NULL PRIMARY KEY,
    password_hash TEXT    NOT NULL,
    role          TEXT    NOT NULL,
    created_at    BIGINT  NOT NULL,
    disabled      BIGINT  NOT NULL DEFAULT 0
);

CREATE TABLE session (
    token_hash TEXT   NOT NULL PRIMARY KEY,
    account    TEXT   NOT NULL REFERENCES account (name) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    last_seen  BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    address    TEXT,
    user_agent TEXT
);
CREATE INDEX session_account ON session (account);
CREATE INDEX session_expires_at ON session (expires_at);

CREATE TABLE api_key (
    id           TEXT   NOT NULL PRIMARY KEY,
    name         TEXT   NOT NULL UNIQUE,
    secret_hash  TEXT   NOT NULL,
    scopes       TEXT   NOT NULL,
    domain       TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT
);

CREATE TABLE sensor (
    sensor       TEXT   NOT NULL PRIMARY KEY,
    kind         TEXT   NOT NULL,
    domain       TEXT   NOT NULL,
    first_seen   BIGINT NOT NULL,
    last_seen    BIGINT NOT NULL,
    last_address TEXT,
    key_id       TEXT,
    version      TEXT,
    events_total BIGINT NOT NULL
);

-- Records that could not be understood. A resent one (same digest) is kept once.
CREATE TABLE quarantine (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    digest      TEXT    NOT NULL UNIQUE,
    received_at BIGINT  NOT NULL,
    sensor      TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    bytes       BIGINT  NOT NULL,
    kept_bytes  BIGINT  NOT NULL,
    record      BLOB    NOT NULL
);
-- Counts and sums without a walk through the records.
CREATE INDEX quarantine_kept_bytes ON quarantine (kept_bytes);

-- Settings and counters by name.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
