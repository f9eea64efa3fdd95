-- The state of a Mayfly installation. The same tables as in ../postgres/0001_init.sql; types differ, and STRICT makes
-- SQLite keep to them.

CREATE TABLE namespace (
    name            TEXT PRIMARY KEY,
    created_at_ms   INTEGER NOT NULL
) STRICT;
INSERT INTO namespace (name, created_at_ms) VALUES ('default', 0);

-- Only the sha256 of a token is kept.
CREATE TABLE token (
    hash            BLOB PRIMARY KEY,
    name            TEXT NOT NULL,
    created_at_ms   INTEGER NOT NULL
) STRICT;

CREATE TABLE artifact (
    namespace       TEXT NOT NULL REFERENCES namespace (name),
    digest          TEXT NOT NULL,
    kind            TEXT NOT NULL,
    size_bytes      INTEGER NOT NULL,
    code_bytes      INTEGER NOT NULL,
    created_at_ms   INTEGER NOT NULL,
    PRIMARY KEY (namespace, digest)
) STRICT;

-- Stays when a function is deleted: a number is never used for two versions.
CREATE TABLE function (
    namespace       TEXT NOT NULL REFERENCES namespace (name),
    name            TEXT NOT NULL,
    latest_version  INTEGER NOT NULL,
    deleted_at_ms   INTEGER,
    PRIMARY KEY (namespace, name)
) STRICT;

CREATE TABLE version (
    namespace       TEXT NOT NULL,
    function        TEXT NOT NULL,
    number          INTEGER NOT NULL,
    artifact        TEXT NOT NULL,
    config          TEXT NOT NULL,
    config_digest   TEXT NOT NULL,
    created_at_ms   INTEGER NOT NULL,
    PRIMARY KEY (namespace, function, number),
    FOREIGN KEY (namespace, function) REFERENCES function (namespace, name),
    FOREIGN KEY (namespace, artifact) REFERENCES artifact (namespace, digest)
) STRICT;

-- The ledger: records of one version and one minute together, beside their sums; never changed. It refers to nothing,
-- so that a row is never refused and outlives the function that it is about. See store/blocks.rs.
CREATE TABLE usage_block (
    -- The file of the spool that the records came from, and where in it: a file that comes twice changes nothing.
    segment             TEXT NOT NULL,
    part                INTEGER NOT NULL,
    namespace           TEXT NOT NULL,
    function            TEXT NOT NULL,
    version             INTEGER NOT NULL,
    -- Minutes since 1970 in the ids of the invocations.
    minute              INTEGER NOT NULL,
    first_id            BLOB NOT NULL,
    last_id             BLOB NOT NULL,
    first_started_ms    INTEGER NOT NULL,
    last_started_ms     INTEGER NOT NULL,
    invocations         INTEGER NOT NULL,
    failed              INTEGER NOT NULL,
    cold_starts         INTEGER NOT NULL,
    billed_ms           INTEGER NOT NULL,
    mib_ms              INTEGER NOT NULL,
    bytes_in            INTEGER NOT NULL,
    bytes_out           INTEGER NOT NULL,
    format              INTEGER NOT NULL,
    records             BLOB NOT NULL,
    PRIMARY KEY (segment, part)
) STRICT;
CREATE INDEX usage_block_by_function ON usage_block (namespace, function, last_id);
CREATE INDEX usage_block_failed ON usage_block (namespace, function, last_id) WHERE failed > 0;
CREATE INDEX usage_block_by_minute ON usage_block (namespace, minute, last_id);
CREATE INDEX usage_block_by_time ON usage_block (namespace, first_started_ms);

-- Written only for invocations that printed. The entries are a JSON list.
CREATE TABLE log (
    namespace       TEXT NOT NULL,
    function        TEXT NOT NULL,
    seq             INTEGER NOT NULL,
    invocation_id   BLOB NOT NULL UNIQUE,
    version         INTEGER NOT NULL,
    started_at_ms   INTEGER NOT NULL,
    dropped_bytes   INTEGER NOT NULL,
    entry_count     INTEGER NOT NULL,
    entries_bytes   INTEGER NOT NULL,
    entries         TEXT NOT NULL,
    PRIMARY KEY (namespace, function, seq)
) STRICT;

-- One row that holds the last `seq` given out. See store/logs.rs for why it is not an identity column.
CREATE TABLE log_position (
    last_seq        INTEGER NOT NULL
) STRICT;
INSERT INTO log_position (last_seq) VALUES (0);
