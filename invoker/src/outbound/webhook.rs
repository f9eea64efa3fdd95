//! A message that the platform sends on behalf of a function: one POST, over the same look-up, check of addresses,
//! connection and bounds as the requests of functions. There is no allow list: who deploys names the one URL.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::FusedFuture;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use mayfly_invoker_api::{Webhook, WebhookAnswer, WebhookError, WebhookErrorKind, WebhookUrl};
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::Error as HttpError;

use super::Outbound;
use super::body::RequestBody;
use super::exchange::{Connection, ask, open};
use super::request::Route;
use crate::config::OUTBOUND_CONNECT_TIME;

/// Sends `webhook` and reads what is said to it.
pub(super) async fn send(outbound: &Outbound, webhook: Webhook) -> Result<WebhookAnswer, WebhookError> {
    let Webhook {
        url,
        headers,
        body,
        time_max,
        answer_bytes_max,
    } = webhook;
    let by = Instant::now() + time_max;
    let asking = async {
        let route = Route::to(&url);
        let mut request = Request::post(url.target())
            .body(RequestBody::new(
                Full::new(body).map_err(|never| match never {}).boxed_unsync(),
            ))
            .map_err(|_not_a_path| HttpError::HttpRequestUriInvalid)?;
        *request.headers_mut() = headers;
        let request = route.rewrite(request)?;
        let connect_by = by.min(Instant::now() + OUTBOUND_CONNECT_TIME);
        let stream = open(outbound, &route, &outbound.private_networks, connect_by).await?;
        ask(stream, request, by.saturating_duration_since(Instant::now())).await
    };
    let asked = timeout_at(by, asking).await;
    let (response, connection) = asked
        .unwrap_or(Err(HttpError::ConnectionReadTimeout))
        .map_err(|error| told(&error, &url, time_max))?;
    let (head, incoming) = response.into_parts();
    let mut body = BytesMut::new();
    // The head has said it all: a body that breaks off or takes too long changes nothing.
    let reading = timeout_at(by, read(incoming, connection, answer_bytes_max, &mut body)).await;
    Ok(WebhookAnswer {
        status: head.status,
        headers: head.headers,
        is_complete: reading.unwrap_or(false),
        body: body.freeze(),
    })
}

/// Reads up to `bytes_max`; says whether that is all. The body comes only while the connection is polled.
async fn read(mut incoming: Incoming, mut connection: Connection, bytes_max: usize, kept: &mut BytesMut) -> bool {
    loop {
        let frame = tokio::select! {
            biased;
            frame = incoming.frame() => frame,
            _ended = &mut connection, if !connection.is_terminated() => continue,
        };
        match frame {
            None => return true,
            Some(Err(_broken_off)) => return false,
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_else(|_trailers| Bytes::new());
                let room = bytes_max - kept.len();
                kept.extend_from_slice(&data[..data.len().min(room)]);
                if data.len() > room {
                    return false;
                }
            }
        }
    }
}

/// What the function's owner is told. The origin only: a path may be a secret.
fn told(error: &HttpError, url: &WebhookUrl, time_max: Duration) -> WebhookError {
    let origin = url.origin();
    if matches!(error, HttpError::DestinationIpProhibited) {
        let message = format!(
            "nothing was sent to {origin}: its address is not a public one; the operator can open a private network with \
             `fn serve --allow-private-network`"
        );
        return WebhookError::new(WebhookErrorKind::Prohibited, message);
    }
    let message = match error {
        HttpError::DnsError { .. } => format!("the host of {origin} was not found"),
        HttpError::DnsTimeout => format!("the host of {origin} could not be looked up in time"),
        HttpError::ConnectionRefused => format!("{origin} refused the connection"),
        HttpError::ConnectionTimeout => format!("{origin} could not be connected to in time"),
        HttpError::ConnectionReadTimeout => format!("{origin} did not answer within {} s", time_max.as_secs()),
        HttpError::ConnectionTerminated => format!("{origin} ended the connection before it had answered"),
        HttpError::TlsCertificateError => format!("{origin} has no certificate that this machine trusts"),
        HttpError::TlsProtocolError | HttpError::TlsAlertReceived { .. } => {
            format!("{origin} could not be spoken to over TLS")
        }
        other => format!("{origin} gave no answer that can be read: {other}"),
    };
    WebhookError::new(WebhookErrorKind::NoAnswer, message)
}
