-- Links to block lists that were handed out. The signature is in none of them:
-- it is made anew from the secret in `meta`.
CREATE TABLE blocklist_link (
    id         TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    format     TEXT   NOT NULL,
    query      TEXT   NOT NULL,
    note       TEXT,
    created_by TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
