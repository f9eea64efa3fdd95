-- Queues, and events that come in batches and in order. The same tables as in ../postgres/0004_queues.sql.

CREATE TABLE queue (
    namespace       TEXT NOT NULL REFERENCES namespace (name),
    name            TEXT NOT NULL,
    config          TEXT NOT NULL,
    created_ms      INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;

-- Messages that no trigger has taken: they wait to be received, or for a trigger that wants them.
CREATE TABLE queue_message (
    id              BLOB PRIMARY KEY,
    namespace       TEXT NOT NULL,
    queue           TEXT NOT NULL,
    attributes      TEXT NOT NULL,
    body_bytes      INTEGER NOT NULL,
    depth           INTEGER NOT NULL,
    created_ms      INTEGER NOT NULL,
    -- When it can be received.
    visible_ms      INTEGER NOT NULL,
    expires_ms      INTEGER NOT NULL,
    receives        INTEGER NOT NULL,
    -- Of the last time that it was received.
    receipt         BLOB,
    -- Last, so that nobody who counts reads it.
    body            BLOB NOT NULL
) STRICT;
CREATE INDEX queue_message_visible ON queue_message (namespace, queue, visible_ms, id);
CREATE INDEX queue_message_received ON queue_message (namespace, queue, receives) WHERE receives > 0;
CREATE INDEX queue_message_expires ON queue_message (expires_ms);

-- Events of a queue are taken by trigger, each of which has its own size of batches.
DROP INDEX event_queued;
ALTER TABLE event DROP COLUMN lane;
ALTER TABLE event ADD COLUMN lane TEXT GENERATED ALWAYS AS (
    CASE WHEN source = 'queue' THEN namespace || '/' || function || '/' || trigger_name
    ELSE namespace || '/' || function END) VIRTUAL;
CREATE INDEX event_queued ON event (lane, due_ms) WHERE state = 'queued';

-- Of those with the same key in a lane, one at a time is not 'held', in the order in which they came.
ALTER TABLE event ADD COLUMN order_key TEXT;
-- NULL: as its trigger says. A batch that failed as a whole comes again in halves.
ALTER TABLE event ADD COLUMN batch_max INTEGER;
CREATE INDEX event_ordered ON event (lane, order_key, state) WHERE order_key IS NOT NULL;
CREATE INDEX event_held ON event (namespace) WHERE state = 'held';
CREATE INDEX event_trigger_queue ON event_trigger (namespace, name) WHERE kind = 'queue';
