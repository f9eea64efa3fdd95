//! A request to the platform itself: it is answered in this process, without a look-up and without a connection.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use mayfly_invoker_api::Caller;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use super::Sent;
use super::allowance::{Admitted, Allowance};
use crate::config::INSIDE_REQUEST_BYTES_MAX;

/// Has `request` answered by the service that it names.
pub(super) async fn answer(
    allowance: Arc<Allowance>,
    admitted: Admitted,
    request: Request<WasiBody>,
) -> Result<Sent, HttpError> {
    if !allowance.admits_inside(&admitted) {
        return Err(HttpError::HttpRequestDenied);
    }
    let asking = async {
        let request = admitted.route.rewrite(request)?;
        let (head, body) = request.into_parts();
        let too_long = HttpError::HttpRequestBodySize(Some(INSIDE_REQUEST_BYTES_MAX as u64));
        let body = Limited::new(body, INSIDE_REQUEST_BYTES_MAX)
            .collect()
            .await
            .map_err(|_| too_long)?;
        let service = mayfly_invoker_api::service_of(&admitted.route.destination).unwrap_or_default();
        let running = allowance.running();
        let caller = Caller {
            target: Arc::clone(&running.target),
            depth: running.depth,
        };
        Ok::<_, HttpError>(
            running
                .services
                .answer(&caller, service, Request::from_parts(head, body.to_bytes()))
                .await,
        )
    };
    let answered = timeout(allowance.remaining(), asking).await;
    let response: Response<Bytes> = answered.map_err(|_elapsed| HttpError::ConnectionReadTimeout)??;
    let response = response.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync());
    Ok((response, Box::new(async { Ok(()) })))
}
