-- Queries that people keep for later. Options (columns, range, …) are a JSON object.
CREATE TABLE saved_query (
    id         TEXT   NOT NULL PRIMARY KEY,
    account    TEXT   NOT NULL REFERENCES account (name) ON DELETE CASCADE,
    name       TEXT   NOT NULL,
    query      TEXT   NOT NULL,
    options    TEXT   NOT NULL,
    shared     BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (account, name)
);
CREATE INDEX saved_query_shared ON saved_query (shared);
