-- Events: what the platform has accepted and owes an ending. The same tables as in ../sqlite/0002_events.sql.

-- The record of truth. `attempts` is counted when an attempt begins and fences it: who ends an attempt says its number.
CREATE TABLE event (
    id              BYTEA PRIMARY KEY,
    namespace       TEXT COLLATE "C" NOT NULL,
    function        TEXT COLLATE "C" NOT NULL,
    lane            TEXT COLLATE "C" GENERATED ALWAYS AS (namespace || '/' || function) STORED,
    -- NULL: the latest version when an attempt begins.
    pinned_version  BIGINT,
    source          TEXT NOT NULL,
    trigger_name    TEXT,
    state           TEXT NOT NULL,
    attempts        BIGINT NOT NULL,
    burned          BIGINT NOT NULL,
    interrupted     BIGINT NOT NULL,
    -- The process that runs it.
    owner           BYTEA,
    running_version BIGINT,
    leased_ms       BIGINT,
    cancel_asked    BIGINT NOT NULL,
    created_ms      BIGINT NOT NULL,
    due_ms          BIGINT NOT NULL,
    expires_ms      BIGINT NOT NULL,
    ended_ms        BIGINT,
    -- How many events led to this one.
    depth           BIGINT NOT NULL,
    envelope        TEXT NOT NULL,
    -- NULL when it lies in event_body, or is no longer needed.
    payload         BYTEA,
    payload_bytes   BIGINT NOT NULL,
    result_status   BIGINT,
    result_type     TEXT,
    result_bytes    BIGINT,
    result          BYTEA,
    error_code      TEXT,
    error_message   TEXT
);
CREATE INDEX event_queued ON event (lane, due_ms) WHERE state = 'queued';
CREATE INDEX event_leased ON event (owner) WHERE state = 'leased';
CREATE INDEX event_ended ON event (ended_ms) WHERE ended_ms IS NOT NULL;
CREATE INDEX event_by_function ON event (namespace, function, id);
CREATE INDEX event_undelivered ON event (namespace, function, id) WHERE state IN ('dead', 'expired');

-- Payloads that are too large for a row that is written several times.
CREATE TABLE event_body (
    event_id        BYTEA PRIMARY KEY,
    bytes           BYTEA NOT NULL
);

-- Attempts that did not succeed. Those that did are in the ledger like every invocation.
CREATE TABLE event_attempt (
    event_id        BYTEA NOT NULL,
    attempt         BIGINT NOT NULL,
    invocation_id   BYTEA,
    version         BIGINT,
    started_ms      BIGINT NOT NULL,
    ended_ms        BIGINT NOT NULL,
    error_code      TEXT NOT NULL,
    error_message   TEXT NOT NULL,
    PRIMARY KEY (event_id, attempt)
);

-- Processes that deliver events. What a process holds is free again when it has not been heard of for a while.
CREATE TABLE controller (
    id              BYTEA PRIMARY KEY,
    alive_until_ms  BIGINT NOT NULL
);

CREATE TABLE event_trigger (
    id              BYTEA PRIMARY KEY,
    namespace       TEXT COLLATE "C" NOT NULL,
    name            TEXT COLLATE "C" NOT NULL,
    function        TEXT COLLATE "C" NOT NULL,
    kind            TEXT NOT NULL,
    config          TEXT NOT NULL,
    enabled         BIGINT NOT NULL,
    created_ms      BIGINT NOT NULL,
    -- When it fires next; NULL when it is disabled or has no more ticks.
    next_ms         BIGINT,
    last_ms         BIGINT,
    UNIQUE (namespace, name)
);
CREATE INDEX event_trigger_next ON event_trigger (next_ms) WHERE next_ms IS NOT NULL;
CREATE INDEX event_trigger_by_function ON event_trigger (namespace, function);

-- One row for each tick that has fired, so that none fires twice.
CREATE TABLE cron_tick (
    trigger_id      BYTEA NOT NULL,
    tick_ms         BIGINT NOT NULL,
    event_id        BYTEA NOT NULL,
    PRIMARY KEY (trigger_id, tick_ms)
);
CREATE INDEX cron_tick_by_time ON cron_tick (tick_ms);

-- What was answered to a request with an Idempotency-Key.
CREATE TABLE idempotency (
    namespace       TEXT COLLATE "C" NOT NULL,
    idempotency_key TEXT COLLATE "C" NOT NULL,
    request_hash    BYTEA NOT NULL,
    -- The process that makes the answer; NULL when there is one.
    owner           BYTEA,
    status          BIGINT,
    head            TEXT,
    body            BYTEA,
    expires_ms      BIGINT NOT NULL,
    PRIMARY KEY (namespace, idempotency_key)
);
CREATE INDEX idempotency_by_expiry ON idempotency (expires_ms);
