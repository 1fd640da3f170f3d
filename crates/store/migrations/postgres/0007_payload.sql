-- Captured payloads: what is known of each; the bytes are elsewhere, by their
-- SHA-256. `text_hash` is the SHA-256 of an HTTP request without its Host
-- header, so that the same request to many hosts is kept once. `kept` is 0
-- where the bytes were removed at the bound.
CREATE TABLE payload (
    sha256       TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    md5          TEXT   COLLATE "C" NOT NULL,
    text_hash    TEXT   COLLATE "C" UNIQUE,
    mime         TEXT   COLLATE "C" NOT NULL,
    first_source TEXT,
    bytes        BIGINT NOT NULL,
    first_seen   BIGINT NOT NULL,
    last_seen    BIGINT NOT NULL,
    seen         BIGINT NOT NULL,
    first_port   BIGINT,
    kept         BIGINT NOT NULL
);
CREATE INDEX payload_last_seen ON payload (last_seen, sha256);
CREATE INDEX payload_md5 ON payload (md5);
