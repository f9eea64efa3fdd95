-- Buckets and objects. The same tables as in ../sqlite/0005_storage.sql.

CREATE TABLE bucket (
    namespace       TEXT COLLATE "C" NOT NULL REFERENCES namespace (name),
    name            TEXT COLLATE "C" NOT NULL,
    created_ms      BIGINT NOT NULL,
    PRIMARY KEY (namespace, name)
);

-- What clients of S3 sign with; each opens one bucket.
CREATE TABLE bucket_key (
    access_key      TEXT PRIMARY KEY,
    namespace       TEXT COLLATE "C" NOT NULL,
    bucket          TEXT COLLATE "C" NOT NULL,
    -- Sealed.
    secret          TEXT NOT NULL,
    created_ms      BIGINT NOT NULL,
    UNIQUE (namespace, bucket),
    FOREIGN KEY (namespace, bucket) REFERENCES bucket (namespace, name) ON DELETE CASCADE
);

-- Keys are bytes, so that both databases put them in the same order.
CREATE TABLE object (
    namespace       TEXT COLLATE "C" NOT NULL,
    bucket          TEXT COLLATE "C" NOT NULL,
    key             BYTEA NOT NULL,
    -- Which blobs it is made of.
    content         BYTEA NOT NULL,
    bytes           BIGINT NOT NULL,
    etag            TEXT NOT NULL,
    modified_ms     BIGINT NOT NULL,
    meta            TEXT NOT NULL,
    PRIMARY KEY (namespace, bucket, key),
    FOREIGN KEY (namespace, bucket) REFERENCES bucket (namespace, name)
);

-- Objects that come in parts, until they are complete. The id is the content that the object will have.
CREATE TABLE upload (
    id              BYTEA PRIMARY KEY,
    namespace       TEXT COLLATE "C" NOT NULL,
    bucket          TEXT COLLATE "C" NOT NULL,
    key             BYTEA NOT NULL,
    meta            TEXT NOT NULL,
    created_ms      BIGINT NOT NULL,
    FOREIGN KEY (namespace, bucket) REFERENCES bucket (namespace, name)
);
CREATE INDEX upload_key ON upload (namespace, bucket, key, id);
CREATE INDEX upload_created ON upload (created_ms);

-- Files. One without a row here belongs to a write that was cut off.
CREATE TABLE blob (
    id              BYTEA PRIMARY KEY,
    content         BYTEA NOT NULL,
    -- Of the part.
    number          BIGINT NOT NULL,
    bytes           BIGINT NOT NULL,
    etag            TEXT NOT NULL,
    written_ms      BIGINT NOT NULL,
    -- Since when nothing is made of it any more; its file goes a little later, because somebody may be reading.
    gone_ms         BIGINT
);
CREATE INDEX blob_content ON blob (content, number) WHERE gone_ms IS NULL;
CREATE INDEX blob_gone ON blob (gone_ms) WHERE gone_ms IS NOT NULL;

-- By what triggers are found when something happens there: `bucket:NAME`, or `amqp` for all queues of RabbitMQ.
ALTER TABLE event_trigger ADD COLUMN source TEXT;
UPDATE event_trigger SET source = 'amqp' WHERE kind = 'queue' AND config LIKE '%"amqp":{"url":%';
CREATE INDEX event_trigger_source ON event_trigger (source, namespace, name) WHERE source IS NOT NULL;

-- One row: tells this database from others, so that nobody cleans up among the files of another one.
CREATE TABLE installation (
    only_row        BIGINT PRIMARY KEY CHECK (only_row = 1),
    id              TEXT NOT NULL
);
