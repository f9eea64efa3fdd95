//! Events that are to be accepted, and how they come into the table.

use bytes::Bytes;
use mayfly_invoker_api::{EventId, FunctionName, Namespace};

use super::Lane;
use crate::ledger::Trigger;
use crate::store::messages::NewMessage;

/// A larger payload does not lie in the row, which is written several times, in bytes.
pub(in crate::store) const INLINE_BYTES_MAX: usize = 4 << 10;
/// Columns of a new event.
pub(in crate::store) const NEW_COLUMNS: usize = 15;

/// An event to be accepted.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Names it.
    pub id: EventId,
    /// Whose.
    pub namespace: Namespace,
    /// What is to be run.
    pub function: FunctionName,
    /// Which version; `None` for the latest one when an attempt begins.
    pub pinned_version: Option<u32>,
    /// What made it.
    pub source: Trigger,
    /// The trigger's name, where there is one.
    pub trigger: Option<String>,
    /// When it was accepted, in milliseconds since 1970.
    pub created_ms: i64,
    /// When its first attempt may begin, in milliseconds since 1970.
    pub due_ms: i64,
    /// When it is given up, in milliseconds since 1970.
    pub expires_ms: i64,
    /// How many events led to this one.
    pub depth: u32,
    /// Of those with the same key in their lane, one at a time is run, in the order in which they came.
    pub order_key: Option<String>,
    /// How its payload is to be given to a function; JSON.
    pub envelope: String,
    /// What the function is given.
    pub payload: Bytes,
}

impl NewEvent {
    /// Where it waits for its turn.
    #[must_use]
    pub fn lane(&self) -> Lane {
        Lane::of(&self.namespace, &self.function, self.source, self.trigger.as_deref())
    }

    /// What is kept of it, about.
    pub(crate) fn bytes(&self) -> usize {
        self.payload.len() + self.envelope.len()
    }
}

/// What comes of one thing that happened, and is accepted together: all of it or nothing.
#[derive(Debug, Clone, Default)]
pub struct Arrival {
    /// For functions.
    pub events: Vec<NewEvent>,
    /// For whoever receives them.
    pub messages: Vec<NewMessage>,
}

impl From<NewEvent> for Arrival {
    fn from(event: NewEvent) -> Self {
        Self {
            events: vec![event],
            messages: Vec::new(),
        }
    }
}

/// Puts new events into the table, inside a transaction.
macro_rules! insert_events {
    ($tx:ident, $events:expr) => {
        let held = $crate::store::events::ordered::held_among!($tx, $events);
        let numbered: Vec<(usize, &$crate::store::NewEvent)> = $events.iter().enumerate().collect();
        for piece in $crate::store::batch::pieces(&numbered) {
            let sql = format!(
                "INSERT INTO event (id, namespace, function, pinned_version, source, trigger_name, state, attempts, \
                 burned, interrupted, cancel_asked, created_ms, due_ms, expires_ms, depth, envelope, payload, \
                 payload_bytes, order_key) \
                 SELECT v.column1, v.column2, v.column3, v.column4, v.column5, v.column6, v.column14, 0, 0, 0, 0, \
                 v.column7, v.column8, v.column9, v.column10, v.column11, v.column12, v.column13, v.column15 \
                 FROM (VALUES {}) AS v WHERE v.column1 IS NOT NULL",
                $crate::store::batch::values(&$tx, piece.places(), $crate::store::events::new::NEW_COLUMNS)
            );
            let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
            for numbered in piece.padded() {
                let (place, event) = numbered.copied().unzip();
                let event: Option<&$crate::store::NewEvent> = event;
                let state = place.map(|place| if held.contains(&place) { "held" } else { "queued" });
                let inline = event.filter(|event| event.payload.len() <= $crate::store::events::new::INLINE_BYTES_MAX);
                let bytes = event.map(|event| event.payload.len() as u64);
                query = query
                    .bind(event.map(|event| event.id.as_bytes().as_slice()))
                    .bind(event.map(|event| event.namespace.as_str()))
                    .bind(event.map(|event| event.function.as_str()))
                    .bind(event.and_then(|event| event.pinned_version).map(i64::from))
                    .bind(event.map(|event| event.source.as_str()))
                    .bind(event.and_then(|event| event.trigger.as_deref()))
                    .bind(event.map(|event| event.created_ms))
                    .bind(event.map(|event| event.due_ms))
                    .bind(event.map(|event| event.expires_ms))
                    .bind(event.map(|event| i64::from(event.depth)))
                    .bind(event.map(|event| event.envelope.as_str()))
                    .bind(inline.map(|event| &event.payload[..]))
                    .bind(
                        bytes
                            .map(|bytes| $crate::store::columns::number("size of a payload", bytes))
                            .transpose()?,
                    )
                    .bind(state)
                    .bind(event.and_then(|event| event.order_key.as_deref()));
            }
            query.execute(&mut *$tx).await?;
        }
        for event in $events
            .iter()
            .filter(|event| event.payload.len() > $crate::store::events::new::INLINE_BYTES_MAX)
        {
            sqlx::query("INSERT INTO event_body (event_id, bytes) VALUES ($1, $2)")
                .bind(event.id.as_bytes().as_slice())
                .bind(&event.payload[..])
                .execute(&mut *$tx)
                .await?;
        }
    };
}

pub(in crate::store) use insert_events;
