//! Numbers of events for whoever watches the server, in the text format of OpenMetrics.

use std::fmt;

use mayfly_invoker_api::Namespace;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::ledger::Trigger;
use crate::store::{EventCounts, NewEvent, Settlement};

/// What has been counted here since the start, and what the database said last.
pub(crate) struct Metrics {
    registry: Registry,
    accepted: Family<Accepted, Counter>,
    attempts: Family<Attempts, Counter>,
    database: FromDatabase,
}

/// The same for all controllers of one database.
#[derive(Default)]
struct FromDatabase {
    queued: Family<InNamespace, Gauge>,
    queued_bytes: Family<InNamespace, Gauge>,
    oldest_s: Family<InNamespace, Gauge>,
    running: Family<InNamespace, Gauge>,
    dead_letters: Family<InNamespace, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InNamespace {
    namespace: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Accepted {
    namespace: String,
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempts {
    namespace: String,
    ending: &'static str,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("mayfly");
        let (accepted, attempts) = (Family::default(), Family::default());
        registry.register("events_accepted", "Events accepted by this server", accepted.clone());
        registry.register(
            "event_attempts",
            "Attempts of events that ended here, by what the event was then",
            attempts.clone(),
        );
        let database = FromDatabase::default();
        for (name, help, gauge) in [
            ("events_queued", "Events that wait", &database.queued),
            (
                "events_running",
                "Events of which an attempt is under way",
                &database.running,
            ),
            (
                "dead_letters",
                "Events that were given up and are kept",
                &database.dead_letters,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, unit, gauge) in [
            (
                "events_queued",
                "Payloads of events that wait",
                Unit::Bytes,
                &database.queued_bytes,
            ),
            (
                "events_oldest_age",
                "For how long the first of the events that are due has been so",
                Unit::Seconds,
                &database.oldest_s,
            ),
        ] {
            registry.register_with_unit(name, help, unit, gauge.clone());
        }
        Self {
            registry,
            accepted,
            attempts,
            database,
        }
    }

    /// These events were accepted.
    pub(super) fn accepted(&self, events: &[NewEvent]) {
        for event in events {
            self.accepted_one(&event.namespace, event.source);
        }
    }

    /// One event was accepted.
    pub(crate) fn accepted_one(&self, namespace: &Namespace, source: Trigger) {
        let label = Accepted {
            namespace: namespace.to_string(),
            source: source.as_str(),
        };
        self.accepted.get_or_create(&label).inc();
    }

    /// These attempts have ended, and the database knows it.
    pub(super) fn ended<'a>(&self, settlements: impl Iterator<Item = &'a Settlement>) {
        for settlement in settlements {
            self.accepted(&settlement.follow_ups.events);
            let label = Attempts {
                namespace: settlement.lane.namespace.to_string(),
                ending: settlement.outcome.ending(),
            };
            self.attempts.get_or_create(&label).inc();
        }
    }

    /// What the database said at `now_ms`, in milliseconds since 1970.
    pub(super) fn counted(&self, counts: &[EventCounts], now_ms: i64) {
        self.database.set(counts, now_ms);
    }

    /// All numbers. Those of the database are some seconds old: to count a long backlog costs more than to look at it.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut all = String::new();
        text::encode(&mut all, &self.registry)?;
        Ok(all)
    }
}

impl FromDatabase {
    fn set(&self, counts: &[EventCounts], now_ms: i64) {
        let gauges = [
            &self.queued,
            &self.queued_bytes,
            &self.oldest_s,
            &self.running,
            &self.dead_letters,
        ];
        // Of a namespace that is not mentioned there is nothing.
        gauges.into_iter().for_each(Family::clear);
        for count in counts {
            let label = InNamespace {
                namespace: count.namespace.to_string(),
            };
            let set = |gauge: &Family<InNamespace, Gauge>, value: u64| {
                gauge
                    .get_or_create(&label)
                    .set(i64::try_from(value).unwrap_or(i64::MAX));
            };
            set(&self.queued, count.queued);
            set(&self.queued_bytes, count.queued_bytes);
            set(&self.running, count.running);
            set(&self.dead_letters, count.undelivered);
            let age_ms = count.first_due_ms.map_or(0, |due_ms| now_ms.saturating_sub(due_ms));
            set(&self.oldest_s, u64::try_from(age_ms / 1_000).unwrap_or(0));
        }
    }
}
