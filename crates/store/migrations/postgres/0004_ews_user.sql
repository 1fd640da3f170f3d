-- Users of the EWS dialect: installations of honeypots that deliver with a
-- name and a token. The hash is argon2id in the PHC string format; of imported
-- users, until they are first seen, 'sha512:' or 'md5:' and hex digits.
CREATE TABLE ews_user (
    name           TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    token_hash     TEXT   NOT NULL,
    domain         TEXT   NOT NULL,
    email          TEXT,
    read_only      BIGINT NOT NULL,
    community_only BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    last_used_at   BIGINT
);
