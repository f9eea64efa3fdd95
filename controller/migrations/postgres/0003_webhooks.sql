-- What the webhooks of a namespace are signed with. The same table as in ../sqlite/0003_webhooks.sql.
CREATE TABLE webhook_secret (
    namespace       TEXT COLLATE "C" PRIMARY KEY REFERENCES namespace (name),
    secret          BYTEA NOT NULL,
    -- Signs, too, for a while after the rotation.
    former          BYTEA,
    rotated_ms      BIGINT NOT NULL
);
