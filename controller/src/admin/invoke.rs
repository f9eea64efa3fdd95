//! `POST /v1/ns/{ns}/functions/{name}/invoke`: a direct invocation, on the same road as every other.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http_body_util::BodyExt;

use crate::admin::extract::NamedFunction;
use crate::admin::{Admin, Peer};
use crate::client_gone;
use crate::ingress::{Routed, async_preferred, timing_wanted};
use crate::ledger::Trigger;
use crate::problem::{Problem, ProblemDocument};

/// Runs the function on the body of this request and answers what the function answers, byte for byte. With
/// `Prefer: respond-async` the request becomes an event, and the answer is its id. With an `Idempotency-Key` the first
/// answer is given again for a day.
#[utoipa::path(post, path = "/v1/ns/{ns}/functions/{name}/invoke",
    operation_id = "invoke_function", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Function")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "The function's answer; an http function chooses its own status",
            headers(("mayfly-invocation-id" = String), ("mayfly-start" = String))),
        (status = 202, description = "The event is durable",
            headers(("mayfly-event-id" = String), ("preference-applied" = String))),
        (status = 400, body = ProblemDocument),
        (status = 404, body = ProblemDocument),
        (status = 409, description = "The Idempotency-Key is in use", body = ProblemDocument),
        (status = 429, body = ProblemDocument),
        (status = 500, description = "The function failed", body = ProblemDocument),
        (status = 504, description = "The function's time limit was reached", body = ProblemDocument),
    ))]
pub(super) async fn invoke(
    State(admin): State<Admin>,
    NamedFunction(namespace, name): NamedFunction,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let target = admin.ingress.routes.target(&namespace, &name).await?;
    let request = request.map(|body| body.map_err(client_gone).boxed_unsync());
    let routed = Routed {
        target,
        trigger: Trigger::Direct,
        timing_wanted: timing_wanted(&request),
        request,
        peer: peer.0,
        occurrence: None,
    };
    let answer = if async_preferred(routed.request.headers()) {
        admin.ingress.accept(routed).await
    } else {
        admin.ingress.invoke_once(routed).await
    };
    Ok(answer.map(Body::new))
}
