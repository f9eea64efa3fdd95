//! One attempt to tell a webhook about an event: a signed POST, and the judgement of what is said to it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use mayfly_delivery::Fault;
use mayfly_invoker_api::{Invoke, Webhook, WebhookAnswer, WebhookErrorKind, WebhookUrl};

use crate::clock::Clock;
use crate::code::Code;
use crate::config::{WEBHOOK_ANSWER_BYTES_MAX, WEBHOOK_RESULT_BYTES_MAX, WEBHOOK_TIME_MAX};
use crate::events::envelope::CloudEvent;
use crate::events::judgement::Went;
use crate::events::signing::{Secrets, SigningSecrets};
use crate::ingress::{Occurrence, set_occurrence};
use crate::problem::Problem;
use crate::store::{ClaimedEvent, StoredResult};

/// Tells webhooks.
#[derive(Clone)]
pub(super) struct Teller {
    pub(super) invoker: Arc<dyn Invoke>,
    pub(super) secrets: Secrets,
    pub(super) clock: Arc<dyn Clock>,
}

impl Teller {
    /// Posts the payload of `event`, a document about another event, to `url`.
    pub(super) async fn tell(&self, event: &ClaimedEvent, url: &WebhookUrl, about: CloudEvent, body: Bytes) -> Went {
        let secrets = match self.secrets.of(&event.namespace).await {
            Ok(secrets) => secrets,
            Err(problem) => return Went::Badly(Fault::Platform, problem),
        };
        let headers = headers(event, about, &secrets, self.clock.unix_ms(), &body);
        let webhook = Webhook {
            url: url.clone(),
            headers,
            body,
            time_max: WEBHOOK_TIME_MAX,
            answer_bytes_max: WEBHOOK_ANSWER_BYTES_MAX,
        };
        match self.invoker.send_webhook(webhook).await {
            Ok(answer) => judge(answer, url),
            Err(error) => {
                let (fault, code) = match error.kind() {
                    WebhookErrorKind::Prohibited => (Fault::Permanent, Code::WebhookProhibited),
                    WebhookErrorKind::NoAnswer => (Fault::Function, Code::WebhookFailed),
                };
                Went::Badly(fault, Problem::new(code, error.to_string()))
            }
        }
    }
}

/// What CloudEvents and Standard Webhooks want to be told. The id is the same in all attempts, so that a receiver can tell
/// a repetition.
fn headers(event: &ClaimedEvent, about: CloudEvent, secrets: &SigningSecrets, now_ms: i64, body: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let occurrence = Occurrence {
        event: event.id,
        attempt: event.attempt,
        depth: event.depth,
        cloud_event: Some(about),
    };
    set_occurrence(&mut headers, &occurrence);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("mayfly"));
    let id = event.id.to_string();
    let signatures = secrets.signatures(&id, now_ms, body);
    let seconds = now_ms.div_euclid(1_000).to_string();
    for (name, value) in [
        ("webhook-id", id),
        ("webhook-timestamp", seconds),
        ("webhook-signature", signatures),
    ] {
        let value = HeaderValue::try_from(value).expect("ids, numbers and base64 are visible ASCII");
        headers.insert(name, value);
    }
    headers
}

/// A receiver says with the status of its answer whether it has taken the message.
fn judge(answer: WebhookAnswer, url: &WebhookUrl) -> Went {
    let status = answer.status;
    if !status.is_success() {
        let said = format!("{} answered HTTP {}", url.origin(), status.as_u16());
        let (fault, message) = if status == StatusCode::GONE {
            (Fault::Permanent, format!("{said}: it wants to be told nothing more"))
        } else if status.is_redirection() {
            (Fault::Function, format!("{said}; redirects are not followed"))
        } else {
            (Fault::Function, said)
        };
        return Went::Badly(fault, Problem::new(Code::WebhookFailed, message));
    }
    let content_type = answer
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let is_kept = answer.is_complete && answer.body.len() <= WEBHOOK_RESULT_BYTES_MAX;
    Went::Well(StoredResult {
        http_status: Some(status.as_u16()),
        content_type: content_type.map(str::to_owned),
        bytes: answer.body.len() as u64,
        body: is_kept.then_some(answer.body),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &'static [u8], is_complete: bool) -> Went {
        let answer = WebhookAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body),
            is_complete,
        };
        judge(answer, &"https://example.com/secret".parse().unwrap())
    }

    #[test]
    fn the_status_decides() {
        for status in [200, 201, 202, 204, 299] {
            assert!(matches!(judged(status, b"", true), Went::Well(_)), "{status}");
        }
        for status in [301, 302, 307, 308, 400, 401, 404, 408, 429, 500, 502, 503, 599] {
            match judged(status, b"", true) {
                Went::Badly(Fault::Function, problem) => {
                    assert_eq!(problem.code, Code::WebhookFailed);
                    assert!(problem.detail.contains(&status.to_string()), "{}", problem.detail);
                    assert!(!problem.detail.contains("secret"), "{}", problem.detail);
                }
                _ => panic!("{status}"),
            }
        }
        assert!(matches!(judged(410, b"", true), Went::Badly(Fault::Permanent, _)));
    }

    #[test]
    fn of_an_answer_little_is_kept() {
        let kept = |went: Went| match went {
            Went::Well(result) => (result.bytes, result.body),
            _ => panic!("it was taken"),
        };
        assert_eq!(kept(judged(200, b"ok", true)), (2, Some(Bytes::from_static(b"ok"))));
        assert_eq!(kept(judged(200, b"half of i", false)), (9, None));
        const LARGE: &[u8] = &[b'x'; WEBHOOK_RESULT_BYTES_MAX + 1];
        assert_eq!(kept(judged(200, LARGE, true)), (LARGE.len() as u64, None));
    }
}
