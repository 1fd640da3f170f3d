-- The last batch of sensor counts that each writer (a hub, from its start to
-- its end) has added, so that a batch sent twice counts once.
CREATE TABLE sensor_batch (
    writer TEXT   NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    at     BIGINT NOT NULL
);
