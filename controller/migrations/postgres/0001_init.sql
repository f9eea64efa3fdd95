-- The state of a Mayfly installation. The same tables as in ../sqlite/0001_init.sql; types and collation differ:
-- names sort by their bytes on both, so that a page of a list ends at the same name whichever database is below.

CREATE TABLE namespace (
    name            TEXT COLLATE "C" PRIMARY KEY,
    created_at_ms   BIGINT NOT NULL
);
INSERT INTO namespace (name, created_at_ms) VALUES ('default', 0);

-- Only the sha256 of a token is kept.
CREATE TABLE token (
    hash            BYTEA PRIMARY KEY,
    name            TEXT NOT NULL,
    created_at_ms   BIGINT NOT NULL
);

CREATE TABLE artifact (
    namespace       TEXT COLLATE "C" NOT NULL REFERENCES namespace (name),
    digest          TEXT COLLATE "C" NOT NULL,
    kind            TEXT NOT NULL,
    size_bytes      BIGINT NOT NULL,
    code_bytes      BIGINT NOT NULL,
    created_at_ms   BIGINT NOT NULL,
    PRIMARY KEY (namespace, digest)
);

-- Stays when a function is deleted: a number is never used for two versions.
CREATE TABLE function (
    namespace       TEXT COLLATE "C" NOT NULL REFERENCES namespace (name),
    name            TEXT COLLATE "C" NOT NULL,
    latest_version  BIGINT NOT NULL,
    deleted_at_ms   BIGINT,
    PRIMARY KEY (namespace, name)
);

CREATE TABLE version (
    namespace       TEXT COLLATE "C" NOT NULL,
    function        TEXT COLLATE "C" NOT NULL,
    number          BIGINT NOT NULL,
    artifact        TEXT COLLATE "C" NOT NULL,
    config          TEXT NOT NULL,
    config_digest   TEXT NOT NULL,
    created_at_ms   BIGINT NOT NULL,
    PRIMARY KEY (namespace, function, number),
    FOREIGN KEY (namespace, function) REFERENCES function (namespace, name),
    FOREIGN KEY (namespace, artifact) REFERENCES artifact (namespace, digest)
);

-- The ledger: records of one version and one minute together, beside their sums; never changed. It refers to nothing,
-- so that a row is never refused and outlives the function that it is about. See store/blocks.rs.
CREATE TABLE usage_block (
    -- The file of the spool that the records came from, and where in it: a file that comes twice changes nothing.
    segment             TEXT COLLATE "C" NOT NULL,
    part                BIGINT NOT NULL,
    namespace           TEXT COLLATE "C" NOT NULL,
    function            TEXT COLLATE "C" NOT NULL,
    version             BIGINT NOT NULL,
    -- Minutes since 1970 in the ids of the invocations.
    minute              BIGINT NOT NULL,
    first_id            BYTEA NOT NULL,
    last_id             BYTEA NOT NULL,
    first_started_ms    BIGINT NOT NULL,
    last_started_ms     BIGINT NOT NULL,
    invocations         BIGINT NOT NULL,
    failed              BIGINT NOT NULL,
    cold_starts         BIGINT NOT NULL,
    billed_ms           BIGINT NOT NULL,
    mib_ms              BIGINT NOT NULL,
    bytes_in            BIGINT NOT NULL,
    bytes_out           BIGINT NOT NULL,
    format              BIGINT NOT NULL,
    records             BYTEA NOT NULL,
    PRIMARY KEY (segment, part)
);
CREATE INDEX usage_block_by_function ON usage_block (namespace, function, last_id);
CREATE INDEX usage_block_failed ON usage_block (namespace, function, last_id) WHERE failed > 0;
CREATE INDEX usage_block_by_minute ON usage_block (namespace, minute, last_id);
CREATE INDEX usage_block_by_time ON usage_block (namespace, first_started_ms);

-- Written only for invocations that printed. The entries are a JSON list.
CREATE TABLE log (
    namespace       TEXT COLLATE "C" NOT NULL,
    function        TEXT COLLATE "C" NOT NULL,
    seq             BIGINT NOT NULL,
    invocation_id   BYTEA NOT NULL UNIQUE,
    version         BIGINT NOT NULL,
    started_at_ms   BIGINT NOT NULL,
    dropped_bytes   BIGINT NOT NULL,
    entry_count     BIGINT NOT NULL,
    entries_bytes   BIGINT NOT NULL,
    entries         TEXT NOT NULL,
    PRIMARY KEY (namespace, function, seq)
);

-- One row that holds the last `seq` given out. See store/logs.rs for why it is not an identity column.
CREATE TABLE log_position (
    last_seq        BIGINT NOT NULL
);
INSERT INTO log_position (last_seq) VALUES (0);
