//! What a guest is told about a connection that failed.

use std::error::Error as _;

use wasmtime_wasi_http::Error as HttpError;

/// Before the head of the response was there.
pub(crate) fn before_head(error: &hyper::Error) -> HttpError {
    told(error).unwrap_or(HttpError::ConnectionTerminated)
}

/// While the body of the response was read.
pub(crate) fn after_head(error: &hyper::Error) -> HttpError {
    told(error).unwrap_or(HttpError::HttpResponseIncomplete)
}

fn told(error: &hyper::Error) -> Option<HttpError> {
    let own = error.source().and_then(|cause| cause.downcast_ref::<HttpError>());
    if let Some(HttpError::HttpRequestBodySize(bytes)) = own {
        Some(HttpError::HttpRequestBodySize(*bytes))
    } else if own.is_some() {
        Some(HttpError::InternalError(Some(
            "the function did not finish the body of its request".to_owned(),
        )))
    } else if error.is_parse_too_large() {
        Some(HttpError::HttpResponseHeaderSectionSize(None))
    } else if error.is_parse() {
        Some(HttpError::HttpProtocolError)
    } else {
        None
    }
}
