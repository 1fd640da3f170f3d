-- Links that let somebody in once. The secret is in none of them, only its hash.
CREATE TABLE knock_link (
    id         TEXT   NOT NULL PRIMARY KEY,
    hash       TEXT   NOT NULL,
    made_by    TEXT   NOT NULL,
    account    TEXT,
    note       TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    allow_secs BIGINT NOT NULL,
    spent_at   BIGINT,
    spent_by   TEXT
);
