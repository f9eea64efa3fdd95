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

-- The ledger: one row per invocation, never changed. It refers to nothing, so that a row is never refused and outlives
-- the function that it is about. Identifiers that come from outside are bytes, because Postgres refuses the character
-- U+0000 in TEXT.
CREATE TABLE usage (
    invocation_id       BLOB PRIMARY KEY,
    namespace           TEXT NOT NULL,
    function            TEXT NOT NULL,
    version             INTEGER NOT NULL,
    trigger             TEXT NOT NULL,
    event_id            BLOB NOT NULL,
    attempt             INTEGER NOT NULL,
    failed              INTEGER NOT NULL,
    http_status         INTEGER,
    started_at_ms       INTEGER NOT NULL,
    trace_id            TEXT,
    start               TEXT,
    duration_us         INTEGER NOT NULL,
    billed_ms           INTEGER NOT NULL,
    init_us             INTEGER NOT NULL,
    cpu_us              INTEGER NOT NULL,
    memory_mib          INTEGER NOT NULL,
    mib_ms              INTEGER NOT NULL,
    memory_peak_bytes   INTEGER NOT NULL,
    bytes_in            INTEGER NOT NULL,
    bytes_out           INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_by_function ON usage (namespace, function, invocation_id);
CREATE INDEX usage_by_time ON usage (namespace, started_at_ms);
CREATE INDEX usage_failed ON usage (namespace, function, invocation_id) WHERE failed = 1;

-- Written only for invocations that failed. The message is a JSON string, because it may hold any character.
CREATE TABLE usage_error (
    invocation_id   BLOB PRIMARY KEY,
    code            TEXT NOT NULL,
    message         TEXT NOT NULL
) STRICT;

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
