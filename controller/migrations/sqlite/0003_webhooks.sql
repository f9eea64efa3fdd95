-- What the webhooks of a namespace are signed with. The same table as in ../postgres/0003_webhooks.sql.
CREATE TABLE webhook_secret (
    namespace       TEXT PRIMARY KEY REFERENCES namespace (name),
    secret          BLOB NOT NULL,
    -- Signs, too, for a while after the rotation.
    former          BLOB,
    rotated_ms      INTEGER NOT NULL
) STRICT;
