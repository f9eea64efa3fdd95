//! `Server-Timing`, for a client that asks where the time of its call went.

use http::{HeaderName, HeaderValue, Request};
use mayfly_invoker_api::Gauge;

/// A request with this header, whatever its value, gets a `Server-Timing` with its answer.
const WANTED: HeaderName = HeaderName::from_static("mayfly-timing");
pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

pub(crate) fn wanted<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(WANTED)
}

/// The parts in milliseconds, in the order in which they come: waiting for an instance, waiting for code, making the
/// instance, running; then the processor time of the latter two. A guest that is still writing has only begun to run.
pub(crate) fn of(gauge: &Gauge) -> HeaderValue {
    let part = |name: &str, us: u64| format!("{name};dur={}.{:03}", us / 1_000, us % 1_000);
    let mut parts = vec![
        part("queue", gauge.queue_us()),
        part("code", gauge.code_us()),
        part("init", gauge.init_us()),
    ];
    if let Some(duration_us) = gauge.duration_us() {
        parts.push(part("run", duration_us.saturating_sub(gauge.init_us())));
        parts.push(part("cpu", gauge.cpu_us()));
    }
    HeaderValue::try_from(parts.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_add_up_to_the_duration() {
        let gauge = Gauge::default();
        gauge.add_code_us(4_001);
        gauge.add_init_us(250);
        assert_eq!(of(&gauge), "queue;dur=0.000, code;dur=4.001, init;dur=0.250");
        gauge.finish(1_250);
        assert_eq!(
            of(&gauge),
            "queue;dur=0.000, code;dur=4.001, init;dur=0.250, run;dur=1.000, cpu;dur=0.000"
        );
    }
}
