-- Events: what the platform has accepted and owes an ending. The same tables as in ../postgres/0002_events.sql.

-- The record of truth. `attempts` is counted when an attempt begins and fences it: who ends an attempt says its number.
CREATE TABLE event (
    id              BLOB PRIMARY KEY,
    namespace       TEXT NOT NULL,
    function        TEXT NOT NULL,
    lane            TEXT GENERATED ALWAYS AS (namespace || '/' || function) VIRTUAL,
    -- NULL: the latest version when an attempt begins.
    pinned_version  INTEGER,
    source          TEXT NOT NULL,
    trigger_name    TEXT,
    state           TEXT NOT NULL,
    attempts        INTEGER NOT NULL,
    burned          INTEGER NOT NULL,
    interrupted     INTEGER NOT NULL,
    -- The process that runs it.
    owner           BLOB,
    running_version INTEGER,
    leased_ms       INTEGER,
    cancel_asked    INTEGER NOT NULL,
    created_ms      INTEGER NOT NULL,
    due_ms          INTEGER NOT NULL,
    expires_ms      INTEGER NOT NULL,
    ended_ms        INTEGER,
    -- How many events led to this one.
    depth           INTEGER NOT NULL,
    envelope        TEXT NOT NULL,
    -- NULL when it lies in event_body, or is no longer needed.
    payload         BLOB,
    payload_bytes   INTEGER NOT NULL,
    result_status   INTEGER,
    result_type     TEXT,
    result_bytes    INTEGER,
    result          BLOB,
    error_code      TEXT,
    error_message   TEXT
) STRICT;
CREATE INDEX event_queued ON event (lane, due_ms) WHERE state = 'queued';
CREATE INDEX event_leased ON event (owner) WHERE state = 'leased';
CREATE INDEX event_ended ON event (ended_ms) WHERE ended_ms IS NOT NULL;
CREATE INDEX event_by_function ON event (namespace, function, id);
CREATE INDEX event_undelivered ON event (namespace, function, id) WHERE state IN ('dead', 'expired');

-- Payloads that are too large for a row that is written several times.
CREATE TABLE event_body (
    event_id        BLOB PRIMARY KEY,
    bytes           BLOB NOT NULL
) STRICT;

-- Attempts that did not succeed. Those that did are in the ledger like every invocation.
CREATE TABLE event_attempt (
    event_id        BLOB NOT NULL,
    attempt         INTEGER NOT NULL,
    invocation_id   BLOB,
    version         INTEGER,
    started_ms      INTEGER NOT NULL,
    ended_ms        INTEGER NOT NULL,
    error_code      TEXT NOT NULL,
    error_message   TEXT NOT NULL,
    PRIMARY KEY (event_id, attempt)
) STRICT;

-- Processes that deliver events. What a process holds is free again when it has not been heard of for a while.
CREATE TABLE controller (
    id              BLOB PRIMARY KEY,
    alive_until_ms  INTEGER NOT NULL
) STRICT;

CREATE TABLE event_trigger (
    id              BLOB PRIMARY KEY,
    namespace       TEXT NOT NULL,
    name            TEXT NOT NULL,
    function        TEXT NOT NULL,
    kind            TEXT NOT NULL,
    config          TEXT NOT NULL,
    enabled         INTEGER NOT NULL,
    created_ms      INTEGER NOT NULL,
    -- When it fires next; NULL when it is disabled or has no more ticks.
    next_ms         INTEGER,
    last_ms         INTEGER,
    UNIQUE (namespace, name)
) STRICT;
CREATE INDEX event_trigger_next ON event_trigger (next_ms) WHERE next_ms IS NOT NULL;
CREATE INDEX event_trigger_by_function ON event_trigger (namespace, function);

-- One row for each tick that has fired, so that none fires twice.
CREATE TABLE cron_tick (
    trigger_id      BLOB NOT NULL,
    tick_ms         INTEGER NOT NULL,
    event_id        BLOB NOT NULL,
    PRIMARY KEY (trigger_id, tick_ms)
) STRICT;
CREATE INDEX cron_tick_by_time ON cron_tick (tick_ms);

-- What was answered to a request with an Idempotency-Key.
CREATE TABLE idempotency (
    namespace       TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_hash    BLOB NOT NULL,
    -- The process that makes the answer; NULL when there is one.
    owner           BLOB,
    status          INTEGER,
    head            TEXT,
    body            BLOB,
    expires_ms      INTEGER NOT NULL,
    PRIMARY KEY (namespace, idempotency_key)
) STRICT;
CREATE INDEX idempotency_by_expiry ON idempotency (expires_ms);
