//! The secret that the webhooks of a namespace are signed with: `GET`, and `POST .../rotate`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::Admin;
use crate::admin::extract::{InNamespace, time};
use crate::events::SigningSecrets;
use crate::problem::{Problem, ProblemDocument};

/// What receivers of webhooks check signatures with. Without a Debug form, so that no log shows it.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookSecret {
    namespace: String,
    /// `whsec_` and the base64 of the key.
    secret: String,
    /// When it was made.
    rotated_at: String,
    /// Until when the secret before it signs, too; null if it does not.
    former_until: Option<String>,
}

/// Shows the secret. It is made when somebody asks first, or when the first webhook is sent.
#[utoipa::path(get, path = "/v1/ns/{ns}/webhook-secret",
    operation_id = "get_webhook_secret", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace")),
    responses((status = 200, body = WebhookSecret), (status = 404, body = ProblemDocument)))]
pub(super) async fn get(State(admin): State<Admin>, InNamespace(namespace): InNamespace) -> Result<Response, Problem> {
    let secrets = admin.events.secrets.of(&namespace).await?;
    Ok(shown(&admin, namespace.to_string(), &secrets))
}

/// Makes a new secret. The one before it signs, too, for 24 hours; the one before that does not any more.
#[utoipa::path(post, path = "/v1/ns/{ns}/webhook-secret/rotate",
    operation_id = "rotate_webhook_secret", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace")),
    responses((status = 200, body = WebhookSecret), (status = 404, body = ProblemDocument)))]
pub(super) async fn rotate(
    State(admin): State<Admin>,
    InNamespace(namespace): InNamespace,
) -> Result<Response, Problem> {
    let secrets = admin.events.secrets.rotate(&namespace).await?;
    Ok(shown(&admin, namespace.to_string(), &secrets))
}

fn shown(admin: &Admin, namespace: String, secrets: &SigningSecrets) -> Response {
    let now_ms = admin.parts.clock.unix_ms();
    let view = WebhookSecret {
        namespace,
        secret: secrets.current.reveal(),
        rotated_at: time(secrets.rotated_ms),
        former_until: secrets.former_until_ms(now_ms).map(time),
    };
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    ([no_store], Json(view)).into_response()
}
