//! Synchronous calls with an Idempotency-Key: the first one runs the function, the others get its answer.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use mayfly_invoker_api::Namespace;

use crate::code::Code;
use crate::config::KEPT_ANSWER_BYTES_MAX;
use crate::ingress::respond::{ResponseBody, START, refuse};
use crate::ingress::respond_async::{
    key_expires_ms, key_of, key_reused, request_hash, response_of, scoped_key, under_way,
};
use crate::ingress::{Ingress, Routed};
use crate::problem::Problem;
use crate::store::{Begun, KeptAnswer, KeyedRequest};

/// Pause after the database did not take an answer.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
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
        let function = &routed.target.function;
        let now_ms = self.store.shared_time_ms(self.clock.unix_ms()).await?;
        let namespace = routed.target.namespace.clone();
        let key = scoped_key(function, routed.trigger, &key);
        let request = KeyedRequest {
            namespace: &namespace,
            key: &key,
            hash: request_hash(&["sync", function.as_str(), content_type.unwrap_or_default()], &payload),
            expires_ms: key_expires_ms(now_ms),
        };
        let working = Working::begin(&self.working, &namespace, &key);
        let owner = (self.process, working.is_none());
        match (self.store.begin_keyed(request, owner, now_ms).await?, working) {
            (Begun::First, Some(working)) => {
                let body = Full::new(payload).map_err(|never| match never {}).boxed_unsync();
                let request = http::Request::from_parts(parts, body);
                let routed = Routed { request, ..routed };
                let ingress = Arc::clone(self);
                // On a task of its own: a client that goes away would leave a key behind that nobody works on.
                let running = tokio::spawn(async move {
                    let answer = ingress.invoke(routed).await;
                    ingress.keep(working, answer).await
                });
                running
                    .await
                    .map_err(|error| Problem::new(Code::Internal, format!("the call ended: {error}")))
            }
            (Begun::Answered(answer), _) => Ok(response_of(&answer, true)),
            (Begun::First | Begun::UnderWay, _) => Err(under_way()),
            (Begun::Other, _) => Err(key_reused()),
        }
    }

    /// Keeps the answer of a function that was started; anything else may be tried again.
    async fn keep(self: &Arc<Self>, working: Working, answer: Response<ResponseBody>) -> Response<ResponseBody> {
        let (parts, body) = answer.into_parts();
        let started = parts.headers.contains_key(&START);
        let (parts, body) = match Limited::new(body, KEPT_ANSWER_BYTES_MAX).collect().await {
            Ok(body) => (parts, body.to_bytes()),
            Err(error) => {
                let message = format!(
                    "the answer to a request with an Idempotency-Key must be complete and of at most \
                     {KEPT_ANSWER_BYTES_MAX} bytes: {error}"
                );
                let problem: Response<Vec<u8>> = Problem::new(Code::BadResponse, message).response();
                let (parts, body) = problem.into_parts();
                (parts, Bytes::from(body))
            }
        };
        let kept = started.then(|| kept(&parts, &body));
        if !self.written(&working, kept.as_ref()).await {
            // The client has waited long enough; the key is not free before this is written.
            let ingress = Arc::clone(self);
            tokio::spawn(async move {
                while !ingress.written(&working, kept.as_ref()).await {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            });
        }
        Response::from_parts(parts, ResponseBody::Small(Full::new(body)))
    }

    /// Writes the answer to a key, or frees it; `false` when the database is not there.
    async fn written(&self, working: &Working, kept: Option<&KeptAnswer>) -> bool {
        let (namespace, key) = &working.key;
        let written = match kept {
            Some(kept) => self.store.finish_keyed(namespace, key, self.process, kept).await,
            None => self.store.give_up_keyed(namespace, key, self.process).await,
        };
        if let Err(error) = &written {
            tracing::warn!(%error, "the answer to an Idempotency-Key waits for the database");
        }
        written.is_ok() || written.is_err_and(|error| error.is_about_values())
    }
}

/// Keys of namespaces that this process works on.
pub(super) type WorkingKeys = Arc<Mutex<HashSet<(Namespace, String)>>>;

/// A key that this process works on until this is dropped.
struct Working {
    key: (Namespace, String),
    all: WorkingKeys,
}

impl Working {
    /// `None` when somebody here works on it already.
    fn begin(all: &WorkingKeys, namespace: &Namespace, key: &str) -> Option<Self> {
        let key = (namespace.clone(), key.to_owned());
        let new = lock(all).insert(key.clone());
        new.then(|| Self {
            key,
            all: Arc::clone(all),
        })
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.key);
    }
}

fn lock(all: &WorkingKeys) -> MutexGuard<'_, HashSet<(Namespace, String)>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
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
