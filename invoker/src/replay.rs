//! Keeping an input for a second try.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::{BodyExt, Collected, Full};
use mayfly_invoker_api::{Body, Input, InvokeError};

use crate::config::REPLAY_BYTES_MAX;

/// An input that can be given twice, or one that cannot.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "taken apart as soon as it is returned")]
pub(crate) enum Replayable {
    Yes { first: Input, again: Input },
    No(Input),
}

/// Keeps a copy of `input` if it is small and all of it is known to come soon: a payload, or a request whose body has
/// a declared length within the bound. A body that cannot be read to its end is not replayable, it is broken: both
/// tries get what came.
pub(crate) async fn keep(input: Input) -> Replayable {
    match input {
        Input::Payload(payload) => Replayable::Yes {
            first: Input::Payload(payload.clone()),
            again: Input::Payload(payload),
        },
        Input::Http(request) => {
            let declared = request.body().size_hint().exact();
            if declared.is_none_or(|bytes| bytes > REPLAY_BYTES_MAX as u64) {
                return Replayable::No(Input::Http(request));
            }
            let (parts, body) = request.into_parts();
            let whole_of = |all: Collected<Bytes>| (all.trailers().cloned(), all.to_bytes());
            let body = body.collect().await.map(whole_of);
            let request = |body| Input::Http(http::Request::from_parts(parts.clone(), body));
            Replayable::Yes {
                first: request(whole(body.clone())),
                again: request(whole(body)),
            }
        }
    }
}

fn whole(body: Result<(Option<HeaderMap>, Bytes), InvokeError>) -> Body {
    match body {
        Ok((None, bytes)) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
        Ok((Some(trailers), bytes)) => Full::new(bytes)
            .with_trailers(std::future::ready(Some(Ok(trailers))))
            .map_err(|never| match never {})
            .boxed_unsync(),
        Err(error) => BrokenBody(Some(error)).boxed_unsync(),
    }
}

/// A body that was cut off.
struct BrokenBody(Option<InvokeError>);

impl http_body::Body for BrokenBody {
    type Data = Bytes;
    type Error = InvokeError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, InvokeError>>> {
        std::task::Poll::Ready(self.0.take().map(Err))
    }
}
