//! What functions ask the platform without leaving it: over HTTP, `*.mayfly.internal`, or with `mayfly:function/queue`.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use mayfly_invoker_api::{Body, Caller, OutgoingMessage, Refusal, SentMessage, Services};

use crate::code::Code;
use crate::events::QueueService;
use crate::problem::Problem;
use crate::storage;

/// The services of this process.
pub(crate) struct Inside {
    pub(crate) queue: QueueService,
    pub(crate) storage: storage::Inside,
}

#[async_trait]
impl Services for Inside {
    async fn answer(&self, caller: &Caller, service: &str, request: Request<Body>) -> Response<Body> {
        if let Some(bucket) = service.strip_suffix(".s3") {
            return self.storage.answer(caller, bucket, request).await;
        }
        let answered = match service {
            "queue" => self.queue.answer(caller, request).await,
            _ => Err(Problem::new(
                Code::RouteNotFound,
                format!(
                    "there is no service named '{service}'; there are queue.mayfly.internal and \
                     BUCKET.s3.mayfly.internal"
                ),
            )),
        };
        let response: Response<Bytes> = answered.unwrap_or_else(|problem| problem.response());
        response.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync())
    }

    async fn send(
        &self,
        caller: &Caller,
        queue: &str,
        messages: Vec<OutgoingMessage>,
    ) -> Result<Vec<SentMessage>, Refusal> {
        let sent = self.queue.send(caller, queue, messages).await;
        sent.map_err(|problem| Refusal {
            code: problem.code.as_str(),
            message: problem.detail,
        })
    }
}
