//! Synchronous calls with an Idempotency-Key: the first one runs the function, the others get its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use mayfly_invoker_api::Namespace;

use crate::code::Code;
use crate::config::KEPT_ANSWER_BYTES_MAX;
use crate::ingress::respond::{ResponseBody, START, refuse};
use crate::ingress::respond_async::{key_expires_ms, key_of, key_reused, request_hash, response_of, under_way};
use crate::ingress::{Ingress, Routed};
use crate::problem::Problem;
use crate::store::{Begun, KeptAnswer, KeyedRequest};

/// Header fields that belong to one connection or are made anew for every answer.
const NOT_KEPT: [HeaderName; 3] = [header::CONNECTION, header::DATE, header::CONTENT_LENGTH];

impl Ingress {
    /// Runs a function as [`Ingress::invoke`] does; at most once for each Idempotency-Key.
    pub(crate) async fn invoke_once(self: &Arc<Self>, routed: Routed) -> Response<ResponseBody> {
        match key_of(routed.request.headers()) {
            Ok(None) => self.invoke(routed).await,
            Ok(Some(key)) => match self.keyed(routed, key).await {
                Ok(answer) => answer,
                Err(problem) => refuse(&problem),
            },
            Err(problem) => refuse(&problem),
        }
    }

    async fn keyed(self: &Arc<Self>, routed: Routed, key: String) -> Result<Response<ResponseBody>, Problem> {
        let routed = self.receiver.receive_all(routed).await?;
        let (parts, body) = routed.request.into_parts();
        let payload = body
            .collect()
            .await
            .map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
        let payload = payload.to_bytes();
        let content_type = parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let function = routed.target.function.as_str();
        let now_ms = self.clock.unix_ms();
        let namespace = routed.target.namespace.clone();
        let request = KeyedRequest {
            namespace: &namespace,
            key: &key,
            hash: request_hash(&["sync", function, content_type.unwrap_or_default()], &payload),
            expires_ms: key_expires_ms(now_ms),
        };
        match self.store.begin_keyed(request, self.process, now_ms).await? {
            Begun::First => {}
            Begun::Answered(answer) => return Ok(response_of(&answer, true)),
            Begun::UnderWay => return Err(under_way()),
            Begun::Other => return Err(key_reused()),
        }
        let body = Full::new(payload).map_err(|never| match never {}).boxed_unsync();
        let request = http::Request::from_parts(parts, body);
        let routed = Routed { request, ..routed };
        let ingress = Arc::clone(self);
        // On a task of its own: a client that goes away would leave a key behind that nobody works on.
        let running = tokio::spawn(async move {
            let answer = ingress.invoke(routed).await;
            ingress.keep(&namespace, &key, answer).await
        });
        running
            .await
            .map_err(|error| Problem::new(Code::Internal, format!("the call ended: {error}")))?
    }

    /// Keeps the answer of a function that was started; anything else may be tried again.
    async fn keep(
        &self,
        namespace: &Namespace,
        key: &str,
        answer: Response<ResponseBody>,
    ) -> Result<Response<ResponseBody>, Problem> {
        let (parts, body) = answer.into_parts();
        let started = parts.headers.contains_key(&START);
        let body = match Limited::new(body, KEPT_ANSWER_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                self.store.give_up_keyed(namespace, key, self.process).await?;
                let message = format!(
                    "the answer to a request with an Idempotency-Key must be complete and of at most \
                     {KEPT_ANSWER_BYTES_MAX} bytes: {error}"
                );
                return Err(Problem::new(Code::BadResponse, message));
            }
        };
        if started {
            let kept = kept(&parts, &body);
            self.store.finish_keyed(namespace, key, self.process, &kept).await?;
        } else {
            self.store.give_up_keyed(namespace, key, self.process).await?;
        }
        Ok(Response::from_parts(parts, ResponseBody::Small(Full::new(body))))
    }
}

fn kept(parts: &http::response::Parts, body: &Bytes) -> KeptAnswer {
    let fields = parts.headers.iter().filter(|(name, _)| !NOT_KEPT.contains(name));
    let head: Vec<(&str, &str)> = fields
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    KeptAnswer {
        status: parts.status.as_u16(),
        head: serde_json::to_string(&head).unwrap_or_default(),
        body: body.to_vec(),
    }
}
