//! `Prefer: respond-async`: the request becomes an event, and the answer is its id, once the event is durable.

use std::time::Duration;

use chrono::DateTime;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use mayfly_delivery::RetryPolicy;
use mayfly_invoker_api::{FunctionName, Kind};
use sha2::{Digest as _, Sha256};

use crate::code::Code;
use crate::config::{DELAY_MAX, ENDPOINT_DELAY_MAX, EVENT_DEPTH_MAX, KEY_CHARS_MAX, KEY_KEPT};
use crate::events::Envelope;
use crate::ingress::input::check_json;
use crate::ingress::respond::{ResponseBody, refuse};
use crate::ingress::{Ingress, Routed};
use crate::ledger::Trigger;
use crate::problem::Problem;
use crate::store::{Begun, KeptAnswer, KeyedRequest, NewEvent};

/// How long to wait: `90s`, `10m`, `2h`, `7d`.
const DELAY: HeaderName = HeaderName::from_static("mayfly-delay");
/// Until when to wait: RFC 3339.
const NOT_BEFORE: HeaderName = HeaderName::from_static("mayfly-not-before");
/// Attempts of this event, in place of the function's own number.
const MAX_ATTEMPTS: HeaderName = HeaderName::from_static("mayfly-max-attempts");
/// How many events led to this one, when a function hands on what it was told.
const DEPTH: HeaderName = HeaderName::from_static("mayfly-depth");
/// What a client may say of an event that it hands in; the function is not told.
pub(super) const WISHES: [HeaderName; 4] = [DELAY, NOT_BEFORE, MAX_ATTEMPTS, DEPTH];
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// An answer that was given before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Whether the client would rather be answered at once than with the outcome (RFC 7240).
pub(crate) fn preferred(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    preferences.any(|preference| {
        let name = preference.split([';', '=']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("respond-async")
    })
}

/// What the headers ask for beside the event itself.
#[derive(Debug, PartialEq, Eq)]
struct Wishes {
    delay: Duration,
    not_before_ms: Option<i64>,
    max_attempts: Option<u32>,
    depth: u32,
    key: Option<String>,
}

impl Wishes {
    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let not_before = text(headers, &NOT_BEFORE)?.map(|text| {
            DateTime::parse_from_rfc3339(text)
                .map(|time| time.timestamp_millis())
                .map_err(|_| invalid(format!("{NOT_BEFORE} must be a time like 2026-12-31T23:59:00Z")))
        });
        let number = |name: &HeaderName| {
            text(headers, name)?
                .map(|text| {
                    text.parse::<u32>()
                        .map_err(|_| invalid(format!("{name} must be a whole number")))
                })
                .transpose()
        };
        let depth = number(&DEPTH)?.unwrap_or(0);
        if depth > EVENT_DEPTH_MAX + 1 {
            return Err(invalid(format!("{DEPTH} must be at most {}", EVENT_DEPTH_MAX + 1)));
        }
        Ok(Self {
            delay: text(headers, &DELAY)?.map_or(Ok(Duration::ZERO), delay_of)?,
            not_before_ms: not_before.transpose()?,
            max_attempts: number(&MAX_ATTEMPTS)?,
            depth,
            key: key_of(headers)?,
        })
    }

    /// When the event is due. Whoever calls an endpoint needs no token, so that waits there are short: what waits counts
    /// against the namespace's backlog.
    fn due_ms(&self, now_ms: i64, trigger: Trigger) -> Result<i64, Problem> {
        let delay_ms = |delay: Duration| i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        let most = match trigger {
            Trigger::Http => ENDPOINT_DELAY_MAX,
            _ => DELAY_MAX,
        };
        let due_ms = now_ms
            .saturating_add(delay_ms(self.delay))
            .max(self.not_before_ms.unwrap_or(now_ms));
        if due_ms.saturating_sub(now_ms) > delay_ms(most) {
            return Err(invalid(format!(
                "an event that is handed in here may wait for at most {} s; at a function's endpoint it is less than through the API",
                most.as_secs()
            )));
        }
        Ok(due_ms)
    }
}

/// The Idempotency-Key, if there is one.
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = text(headers, &IDEMPOTENCY_KEY)? else {
        return Ok(None);
    };
    let fits = (1..=KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits || headers.get_all(&IDEMPOTENCY_KEY).iter().count() > 1 {
        return Err(invalid(format!(
            "the Idempotency-Key must be one text of 1 to {KEY_CHARS_MAX} visible ASCII characters"
        )));
    }
    Ok(Some(key.to_owned()))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let value = headers.get(name).map(|value| value.to_str());
    value
        .transpose()
        .map_err(|_| invalid(format!("the header {name} must be ASCII text")))
}

fn delay_of(text: &str) -> Result<Duration, Problem> {
    let wrong = || invalid(format!("{DELAY} must be like 90s, 10m, 2h or 7d"));
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

fn invalid(message: String) -> Problem {
    Problem::new(Code::InvalidParameter, message)
}

impl Ingress {
    /// Makes an event of a request, and answers with its id.
    pub(crate) async fn accept(&self, routed: Routed) -> Response<ResponseBody> {
        match self.accepted(routed).await {
            Ok(answer) => answer,
            Err(problem) => refuse(&problem),
        }
    }

    async fn accepted(&self, routed: Routed) -> Result<Response<ResponseBody>, Problem> {
        let mut received = self.receiver.receive_all(routed).await?;
        let wishes = Wishes::read(received.request.headers())?;
        for name in WISHES {
            received.request.headers_mut().remove(name);
        }
        let (target, now_ms) = (&received.target, self.clock.unix_ms());
        let own = self.routes.of(&target.namespace, &target.function).await?.retry;
        let retry = wishes
            .max_attempts
            .map(|max_attempts| RetryPolicy { max_attempts, ..own });
        let policy = retry.unwrap_or(own);
        policy.check().map_err(|error| invalid(error.to_string()))?;
        let envelope = match received.trigger {
            Trigger::Http => Envelope::of_request(&received.request, received.peer).with_retry(retry),
            _ => Envelope::of_payload(received.request.headers(), retry),
        };
        let Routed {
            target,
            trigger,
            request,
            ..
        } = received;
        let payload = request
            .into_body()
            .collect()
            .await
            .map_err(|error| Problem::new(Code::Internal, error.to_string()))?
            .to_bytes();
        if (target.kind, trigger) == (Kind::Event, Trigger::Direct) {
            check_json(&payload)?;
        }
        let due_ms = wishes.due_ms(now_ms, trigger)?;
        let event = NewEvent {
            id: self.events.ids.event(now_ms),
            namespace: target.namespace.clone(),
            function: target.function.clone(),
            pinned_version: None,
            source: trigger,
            trigger: None,
            created_ms: now_ms,
            due_ms,
            expires_ms: due_ms.saturating_add(policy.max_age_ms()),
            depth: wishes.depth,
            order_key: None,
            envelope: envelope.to_text(),
            payload,
        };
        match wishes.key {
            Some(key) => self.accept_keyed(event, &envelope.identity(), &key, now_ms).await,
            None => {
                let answer = answer_for(&event);
                self.events.accept(event).await?;
                Ok(response_of(&answer, false))
            }
        }
    }

    async fn accept_keyed(
        &self,
        event: NewEvent,
        identity: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<Response<ResponseBody>, Problem> {
        let answer = answer_for(&event);
        let (namespace, function, due_ms) = (event.namespace.clone(), event.function.clone(), event.due_ms);
        let lane = event.lane();
        let source = event.source;
        let hash = request_hash(&["async", function.as_str(), identity], &event.payload);
        let key = scoped_key(&function, event.source, key);
        let request = KeyedRequest {
            namespace: &namespace,
            key: &key,
            hash,
            expires_ms: key_expires_ms(now_ms),
        };
        let bytes = event.payload.len();
        self.events.reserve(&namespace, bytes)?;
        let begun = self.store.accept_keyed(request, &[event], &answer, now_ms).await;
        if !matches!(begun, Ok(Begun::First)) {
            self.events.release(&namespace, bytes);
        }
        match begun? {
            Begun::First => {
                self.events.metrics.accepted_one(&namespace, source);
                self.events.wakeups.wake(lane, due_ms);
                Ok(response_of(&answer, false))
            }
            Begun::Answered(answer) => Ok(response_of(&answer, true)),
            Begun::UnderWay => Err(under_way()),
            Begun::Other => Err(key_reused()),
        }
    }
}

/// A key belongs to one function, and strangers at its endpoint cannot take those of the API's clients.
pub(super) fn scoped_key(function: &FunctionName, source: Trigger, key: &str) -> String {
    format!("{function}/{}/{key}", source.as_str())
}

/// When a key that is used now is free again.
pub(super) fn key_expires_ms(now_ms: i64) -> i64 {
    now_ms.saturating_add(i64::try_from(KEY_KEPT.as_millis()).unwrap_or(i64::MAX))
}

pub(super) fn under_way() -> Problem {
    Problem::new(
        Code::RequestUnderWay,
        "a request with this Idempotency-Key is being worked on",
    )
}

pub(super) fn key_reused() -> Problem {
    Problem::new(
        Code::IdempotencyKeyReused,
        "another request was made with this Idempotency-Key",
    )
}

/// Equal for requests that ask for the same.
pub(super) fn request_hash(parts: &[&str], body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        // With its length, so that no two lists of parts look alike.
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(body);
    hash.finalize().into()
}

fn answer_for(event: &NewEvent) -> KeptAnswer {
    let id = event.id.to_string();
    let location = format!("/v1/ns/{}/events/{id}", event.namespace);
    let mut head = vec![
        (header::CONTENT_TYPE.as_str(), "application/json"),
        ("mayfly-event-id", id.as_str()),
        ("preference-applied", "respond-async"),
    ];
    if event.source == Trigger::Direct {
        // Events are shown by the API only.
        head.push((header::LOCATION.as_str(), location.as_str()));
    }
    KeptAnswer {
        status: StatusCode::ACCEPTED.as_u16(),
        head: serde_json::to_string(&head).unwrap_or_default(),
        body: format!("{{\"id\":\"{id}\"}}").into_bytes(),
    }
}

/// A kept answer as a response.
pub(super) fn response_of(answer: &KeptAnswer, replayed: bool) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Small(Full::from(answer.body.clone())));
    // It was the status of an answer, so it can be one again.
    if let Ok(status) = StatusCode::from_u16(answer.status) {
        *response.status_mut() = status;
    }
    let head: Vec<(String, String)> = serde_json::from_str(&answer.head).unwrap_or_default();
    for (name, value) in head {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    if replayed {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn the_preference_is_found_among_others() {
        for good in [
            "respond-async",
            "return=minimal, Respond-Async",
            "respond-async; wait=10",
            "wait=1,respond-async",
        ] {
            assert!(preferred(&headers(&[("prefer", good)])), "{good}");
        }
        for bad in ["", "respond-asynchronously", "return=respond-async", "handling=strict"] {
            assert!(!preferred(&headers(&[("prefer", bad)])), "{bad}");
        }
    }

    #[test]
    fn wishes_are_read_or_refused() {
        let read = |name, value| Wishes::read(&headers(&[(name, value)])).map_err(|problem| problem.code);
        assert_eq!(read("mayfly-delay", "10m").unwrap().delay, Duration::from_mins(10));
        assert_eq!(
            read("mayfly-not-before", "2026-12-31T23:59:00+09:00")
                .unwrap()
                .not_before_ms,
            Some(1_798_729_140_000)
        );
        for (name, bad) in [
            ("mayfly-delay", ""),
            ("mayfly-delay", "10"),
            ("mayfly-delay", "-1s"),
            ("mayfly-delay", "99999999999999999999d"),
            ("mayfly-delay", "1\u{00b5}"),
            ("mayfly-not-before", "tomorrow"),
            ("mayfly-max-attempts", "many"),
            ("idempotency-key", ""),
            ("idempotency-key", "a b"),
        ] {
            let value = HeaderValue::from_bytes(bad.as_bytes()).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(name, value);
            let refused = Wishes::read(&headers).map_err(|problem| problem.code);
            assert_eq!(refused, Err(Code::InvalidParameter), "{name}: {bad}");
        }
    }
}
