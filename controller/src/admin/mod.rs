//! The admin API: one file per resource, the OpenAPI document made from the handlers themselves.

mod artifacts;
mod buckets;
mod dead_letters;
mod events;
mod extract;
mod functions;
mod health;
mod invocations;
mod invoke;
mod invoker;
mod logs;
mod messages;
mod metrics;
mod notifications;
mod objects;
mod queues;
pub(crate) mod token;
mod triggers;
mod usage;
mod webhook_secret;

pub(crate) use extract::time;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::{Extension, Json, Router, middleware};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Parts;
use crate::code::Code;
use crate::config::{API_BODY_BYTES_MAX, MESSAGES_BODY_BYTES_MAX};
use crate::events::Events;
use crate::ingress::Ingress;
use crate::problem::{Problem, ProblemDocument};
use crate::server::Answer;
use crate::storage::{Keys, Storage};

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) parts: Parts,
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) events: Arc<Events>,
    pub(crate) storage: Storage,
    pub(crate) keys: Keys,
    /// Places for notifications that come from outside at once.
    pub(crate) notifications: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
}

/// The admin listener.
pub(crate) struct Api {
    router: Router,
    ingress: Arc<Ingress>,
    storage: Storage,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Mayfly", description = "Functions, their invocations and what they cost.", license(name = "Apache-2.0")),
    components(schemas(Code, ProblemDocument)),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

impl Api {
    pub(crate) fn new(admin: Admin) -> Self {
        let (ingress, storage) = (Arc::clone(&admin.ingress), admin.storage.clone());
        let guarded = OpenApiRouter::new()
            .routes(routes!(functions::list::list))
            .routes(routes!(
                functions::get::get,
                functions::deploy::deploy,
                functions::delete::delete
            ))
            .routes(routes!(invocations::list))
            .routes(routes!(invocations::get))
            .routes(routes!(logs::list))
            .routes(routes!(usage::get))
            .routes(routes!(invoker::get))
            .routes(routes!(metrics::get))
            .routes(routes!(events::list))
            .routes(routes!(events::get))
            .routes(routes!(events::cancel))
            .routes(routes!(events::summary))
            .routes(routes!(dead_letters::redrive))
            .routes(routes!(dead_letters::purge))
            .routes(routes!(triggers::list, triggers::create::create))
            .routes(routes!(triggers::get, triggers::delete))
            .routes(routes!(triggers::enable))
            .routes(routes!(triggers::disable))
            .routes(routes!(triggers::fire))
            .routes(routes!(queues::list, queues::create))
            .routes(routes!(queues::get, queues::delete))
            .routes(routes!(queues::purge))
            .routes(routes!(messages::receive))
            .routes(routes!(messages::delete))
            .routes(routes!(buckets::list, buckets::create))
            .routes(routes!(buckets::get, buckets::delete))
            .routes(routes!(buckets::credentials))
            .routes(routes!(buckets::rotate))
            .routes(routes!(objects::list))
            .routes(routes!(webhook_secret::get))
            .routes(routes!(webhook_secret::rotate))
            .layer(DefaultBodyLimit::max(API_BODY_BYTES_MAX))
            .merge(
                // Uploads and payloads have bounds of their own.
                OpenApiRouter::new()
                    .routes(routes!(artifacts::get, artifacts::put))
                    .routes(routes!(invoke::invoke))
                    .routes(routes!(objects::get, objects::put, objects::delete))
                    .layer(DefaultBodyLimit::disable()),
            )
            .merge(
                OpenApiRouter::new()
                    .routes(routes!(messages::send))
                    .layer(DefaultBodyLimit::max(MESSAGES_BODY_BYTES_MAX)),
            )
            .layer(middleware::from_fn_with_state(admin.clone(), token::require));
        let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
            .merge(guarded)
            .routes(routes!(notifications::notify))
            .routes(routes!(health::alive))
            .routes(routes!(health::ready))
            .routes(routes!(openapi))
            .split_for_parts();
        let router = router
            .fallback(async || Problem::new(Code::RouteNotFound, "there is nothing at this path"))
            .method_not_allowed_fallback(async || {
                Problem::new(Code::MethodNotAllowed, "this path does not take that method")
            })
            .layer(Extension(Arc::new(document)))
            .with_state(admin);
        Self {
            router,
            ingress,
            storage,
        }
    }
}

impl Answer for Api {
    type Body = axum::body::Body;

    async fn answer(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Response<axum::body::Body> {
        request.extensions_mut().insert(Peer(peer));
        let answered: Result<_, Infallible> = self.router.clone().oneshot(request.map(axum::body::Body::new)).await;
        match answered {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    async fn quiet(&self) {
        self.ingress.quiet().await;
        self.storage.quiet().await;
    }
}

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
struct Peer(SocketAddr);

/// This document.
#[utoipa::path(get, path = "/openapi.json",
    operation_id = "get_openapi", responses((status = 200, description = "The OpenAPI document of this API")))]
async fn openapi(Extension(document): Extension<Arc<utoipa::openapi::OpenApi>>) -> Json<utoipa::openapi::OpenApi> {
    Json((*document).clone())
}
