//! One request of the function and its response.

use serde_json::{Value, json};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::streams::StreamError;

use crate::plan::Request;
use crate::{READ_BYTES, WRITE_BYTES_MAX};

/// Of a body, this much is told.
const TOLD_BYTES: usize = 4096;

/// A request that was sent.
pub(crate) struct Exchange(FutureIncomingResponse);

impl Exchange {
    pub(crate) fn begin(request: &Request) -> Result<Self, String> {
        let outgoing = OutgoingRequest::new(fields(request)?);
        let refused = |what: &'static str| move |()| format!("the {what} is refused");
        outgoing
            .set_method(&method(&request.method))
            .map_err(refused("method"))?;
        outgoing
            .set_scheme(Some(&scheme(&request.scheme)))
            .map_err(refused("scheme"))?;
        outgoing
            .set_authority(Some(&request.authority))
            .map_err(refused("authority"))?;
        outgoing
            .set_path_with_query(request.path.as_deref())
            .map_err(refused("path"))?;
        let body = outgoing.body().map_err(refused("body"))?;
        let future = handle(outgoing, Some(options(request))).map_err(|code| format!("{code:?}"))?;
        write(body, request);
        Ok(Self(future))
    }

    fn head(&self) -> Result<IncomingResponse, ErrorCode> {
        self.0.subscribe().block();
        let result = self.0.get().expect("it is ready");
        result.expect("it was not taken before")
    }

    /// The status and the body.
    pub(crate) fn response(&self) -> Result<(u16, IncomingBody), ErrorCode> {
        let head = self.head()?;
        Ok((head.status(), head.consume().expect("the body was not taken before")))
    }

    /// All of the response.
    pub(crate) fn finish(self) -> Value {
        let head = match self.head() {
            Ok(head) => head,
            Err(code) => return json!({ "error": format!("{code:?}") }),
        };
        let headers: Vec<_> = head
            .headers()
            .entries()
            .into_iter()
            .map(|(name, value)| json!([name, String::from_utf8_lossy(&value)]))
            .collect();
        let body = head.consume().expect("the body was not taken before");
        let stream = body.stream().expect("the stream was not taken before");
        let (mut told, mut bytes) = (Vec::new(), 0);
        let error = loop {
            match stream.blocking_read(READ_BYTES) {
                Ok(piece) => {
                    bytes += piece.len();
                    told.extend(&piece[..piece.len().min(TOLD_BYTES - told.len())]);
                }
                Err(StreamError::Closed) => break None,
                // The engine has no code for what happens to a body, only a text.
                Err(StreamError::LastOperationFailed(error)) => break Some(error.to_debug_string()),
            }
        };
        json!({
            "status": head.status(),
            "headers": headers,
            "body": String::from_utf8_lossy(&told),
            "bytes": bytes,
            "error": error,
        })
    }

    /// The status, while the response stays open for as long as the instance lives.
    pub(crate) fn leave(self) -> Value {
        let told = match self.head() {
            Ok(head) => {
                let status = head.status();
                std::mem::forget(head);
                json!({ "status": status })
            }
            Err(code) => json!({ "error": format!("{code:?}") }),
        };
        std::mem::forget(self);
        told
    }
}

fn fields(request: &Request) -> Result<Fields, String> {
    let fields = Fields::new();
    for (name, value) in &request.headers {
        fields
            .append(name, value.as_bytes())
            .map_err(|error| format!("{name}: {error:?}"))?;
    }
    Ok(fields)
}

fn options(request: &Request) -> RequestOptions {
    let options = RequestOptions::new();
    let set = [
        options.set_connect_timeout(request.connect_ns),
        options.set_first_byte_timeout(request.first_byte_ns),
        options.set_between_bytes_timeout(request.between_bytes_ns),
    ];
    assert!(set.iter().all(Result::is_ok), "all options are supported");
    options
}

/// An error means that the other side does not want to read on; what it says instead is the response.
fn write(body: OutgoingBody, request: &Request) {
    let stream = body.write().expect("the stream was not taken before");
    let mut pieces = (0..request.body_times).flat_map(|_| request.body.as_bytes().chunks(WRITE_BYTES_MAX));
    let written = pieces.all(|piece| stream.blocking_write_and_flush(piece).is_ok());
    drop(stream);
    if written {
        let _ = OutgoingBody::finish(body, None);
    }
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "CONNECT" => Method::Connect,
        other => Method::Other(other.to_owned()),
    }
}

fn scheme(name: &str) -> Scheme {
    match name {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    }
}
