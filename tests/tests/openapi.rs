//! The API's own description: complete, true, and nothing in it is open to strangers.

use std::collections::BTreeMap;

use mayfly_tests::{Platform, http_client, on_both_databases};
use reqwest::Method;
use serde_json::Value;

on_both_databases!(
    the_document_lists_the_whole_api,
    every_operation_has_a_name_of_its_own,
    every_route_wants_a_token,
    health_does_not
);

/// What clients rely on; a new route is added here too.
const ROUTES: [&str; 47] = [
    "DELETE /v1/ns/{ns}/buckets/{bucket}",
    "DELETE /v1/ns/{ns}/buckets/{bucket}/object",
    "DELETE /v1/ns/{ns}/functions/{name}",
    "DELETE /v1/ns/{ns}/queues/{queue}",
    "DELETE /v1/ns/{ns}/queues/{queue}/messages/{receipt}",
    "DELETE /v1/ns/{ns}/triggers/{name}",
    "GET /v1/invoker",
    "GET /v1/ns/{ns}/artifacts/{digest}",
    "GET /v1/ns/{ns}/buckets",
    "GET /v1/ns/{ns}/buckets/{bucket}",
    "GET /v1/ns/{ns}/buckets/{bucket}/credentials",
    "GET /v1/ns/{ns}/buckets/{bucket}/object",
    "GET /v1/ns/{ns}/buckets/{bucket}/objects",
    "GET /v1/ns/{ns}/events",
    "GET /v1/ns/{ns}/events/summary",
    "GET /v1/ns/{ns}/events/{id}",
    "GET /v1/ns/{ns}/functions",
    "GET /v1/ns/{ns}/functions/{name}",
    "GET /v1/ns/{ns}/functions/{name}/invocations",
    "GET /v1/ns/{ns}/functions/{name}/logs",
    "GET /v1/ns/{ns}/invocations/{id}",
    "GET /v1/ns/{ns}/queues",
    "GET /v1/ns/{ns}/queues/{queue}",
    "GET /v1/ns/{ns}/triggers",
    "GET /v1/ns/{ns}/triggers/{name}",
    "GET /v1/ns/{ns}/usage",
    "GET /v1/ns/{ns}/webhook-secret",
    "HEAD /v1/ns/{ns}/artifacts/{digest}",
    "POST /v1/ns/{ns}/buckets",
    "POST /v1/ns/{ns}/buckets/{bucket}/credentials/rotate",
    "POST /v1/ns/{ns}/events/{id}/cancel",
    "POST /v1/ns/{ns}/functions/{name}/dead-letters/purge",
    "POST /v1/ns/{ns}/functions/{name}/dead-letters/redrive",
    "POST /v1/ns/{ns}/functions/{name}/invoke",
    "POST /v1/ns/{ns}/queues",
    "POST /v1/ns/{ns}/queues/{queue}/messages",
    "POST /v1/ns/{ns}/queues/{queue}/purge",
    "POST /v1/ns/{ns}/queues/{queue}/receive",
    "POST /v1/ns/{ns}/triggers",
    "POST /v1/ns/{ns}/triggers/{name}/disable",
    "POST /v1/ns/{ns}/triggers/{name}/enable",
    "POST /v1/ns/{ns}/triggers/{name}/fire",
    "POST /v1/ns/{ns}/triggers/{name}/notifications",
    "POST /v1/ns/{ns}/webhook-secret/rotate",
    "PUT /v1/ns/{ns}/artifacts/{digest}",
    "PUT /v1/ns/{ns}/buckets/{bucket}/object",
    "PUT /v1/ns/{ns}/functions/{name}",
];

async fn the_document_lists_the_whole_api(platform: &mut Platform) {
    let document = document(platform).await;
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.")),
        "{}",
        document["openapi"]
    );
    let mut documented: Vec<_> = routes(&document)
        .into_iter()
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    documented.retain(|route| route.contains(" /v1/") && !route.starts_with("HEAD "));
    documented.sort();
    let wanted: Vec<_> = ROUTES.into_iter().filter(|route| !route.starts_with("HEAD ")).collect();
    assert_eq!(documented, wanted);

    // And the document is no wish: every route is served.
    for (method, path) in routes(&document) {
        let answer = platform
            .api(method.clone(), &filled(&path))
            .send()
            .await
            .expect("the server answers");
        let problem: Value = answer.json().await.unwrap_or_default();
        let code = problem["code"].as_str().unwrap_or_default();
        assert!(
            !["route_not_found", "method_not_allowed", "internal"].contains(&code),
            "{method} {path}: {problem}"
        );
    }
}

/// Programs that make clients out of the document name their functions after it.
async fn every_operation_has_a_name_of_its_own(platform: &mut Platform) {
    let document = document(platform).await;
    let mut named = BTreeMap::new();
    for (method, path) in routes(&document) {
        let operation = &document["paths"][&path][method.as_str().to_ascii_lowercase()];
        let name = operation["operationId"].as_str().expect("a name").to_owned();
        if let Some(other) = named.insert(name.clone(), path.clone()) {
            panic!("{name} names {method} {path} and {other}");
        }
    }
    assert!(named.len() >= ROUTES.len() - 1, "{named:?}");
}

async fn every_route_wants_a_token(platform: &mut Platform) {
    let stranger = http_client();
    let mut tried = 0;
    let documented = routes(&document(platform).await);
    for (method, path) in documented.into_iter().filter(|(_, path)| path.starts_with("/v1")) {
        let url = format!("{}{}", platform.admin, filled(&path));
        for token in [None, Some("mayfly_wrong"), Some("")] {
            let request = stranger.request(method.clone(), &url);
            let request = if let Some(token) = token {
                request.bearer_auth(token)
            } else {
                request
            };
            let answer = request.send().await.expect("the server answers");
            assert_eq!(answer.status(), 401, "{method} {path} with token {token:?}");
        }
        tried += 1;
    }
    assert!(tried >= ROUTES.len() - 1, "only {tried} routes are documented");
    // Nothing tells a stranger which functions there are.
    let missing = stranger
        .get(format!("{}/v1/ns/default/functions/nothing", platform.admin))
        .send()
        .await;
    assert_eq!(missing.expect("the server answers").status(), 401);
}

async fn health_does_not(platform: &mut Platform) {
    for (path, status) in [("/healthz", "ok"), ("/readyz", "ready")] {
        let answer = http_client()
            .get(format!("{}{path}", platform.admin))
            .send()
            .await
            .expect("the server answers");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<Value>().await.expect("JSON")["status"], status);
    }
    let lost = platform.api_get("/v2/nothing").await;
    lost.is_problem(404, "route_not_found");
    let patched = platform
        .api(Method::PATCH, "/v1/ns/default/functions")
        .send()
        .await
        .expect("the server answers");
    assert_eq!(patched.status(), 405);
    assert!(
        patched.headers().contains_key("allow"),
        "a refused method says which ones are good"
    );
}

async fn document(platform: &Platform) -> Value {
    let answer = http_client()
        .get(format!("{}/openapi.json", platform.admin))
        .send()
        .await
        .expect("the server answers");
    assert_eq!(answer.status(), 200, "the document needs no token");
    answer.json().await.expect("the document is JSON")
}

fn routes(document: &Value) -> Vec<(Method, String)> {
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("the document has paths") {
        for method in ["get", "head", "put", "post", "delete", "patch"] {
            if operations.get(method).is_some() {
                let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).expect("a method");
                routes.push((method, path.clone()));
            }
        }
    }
    routes
}

fn filled(path: &str) -> String {
    path.replace("{ns}", "default")
        .replace("{name}", "nothing")
        .replace("{digest}", &format!("sha256:{}", "0".repeat(64)))
        .replace("{id}", "0199a7c2-5d0e-7c3a-9f11-0242ac120002")
}
