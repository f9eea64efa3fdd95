//! The conformance contract (`../../README.md`) with wstd, as its documentation shows a server.

use wstd::http::{Body, Error, HeaderValue, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (parts, body) = request.into_parts();
    // A body that is passed on goes piece by piece, with its trailers.
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.append("seen-method", HeaderValue::from_str(parts.method.as_str())?);
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    headers.append("seen-target", HeaderValue::from_str(target)?);
    for (name, value) in &parts.headers {
        if name == "bake" {
            headers.append("set-cookie", value.clone());
        } else if name == "trailer" || name.as_str().starts_with("echo-") {
            headers.append(name, value.clone());
        }
    }
    Ok(response)
}
