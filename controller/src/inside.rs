//! What functions ask the platform over HTTP, without leaving it: `*.mayfly.internal`.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use mayfly_invoker_api::{Body, Caller, Services};

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
            "queue" => self.queue.send(caller, request).await,
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
}
