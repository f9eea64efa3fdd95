//! Reading request bodies whole, within bounds of size and time.
//!
//! A client that is cut off while it still sends may never see the answer that says why. So what is refused is read on
//! for a while and thrown away, see RFC 9112 section 9.6 on the reset problem.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body::Body;
use http_body_util::BodyExt;

use crate::config::{DISCARD_TIME_MAX, DISCARDED_TIMES_MAX};

/// Why a body could not be had.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It has more bytes than are allowed.
    TooLong,
    /// It did not arrive in time.
    TooSlow(String),
    /// It was cut off.
    Broken(String),
}

/// Reads a body of at most `bytes_max` within `time_max`.
pub(crate) async fn read<B>(mut body: B, bytes_max: usize, time_max: Duration) -> Result<Bytes, ReadError>
where
    B: Body<Data = Bytes, Error: fmt::Display> + Unpin,
{
    let reading = async {
        let mut whole = BytesMut::new();
        let mut too_long = body.size_hint().lower() > bytes_max as u64;
        while !too_long && let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ReadError::Broken(format!("the body was cut off: {error}")))?;
            let data = frame.into_data().unwrap_or_default();
            too_long = whole.len() + data.len() > bytes_max;
            whole.extend_from_slice(&data);
        }
        if too_long {
            Err(ReadError::TooLong)
        } else {
            Ok(whole.freeze())
        }
    };
    let read = tokio::time::timeout(time_max, reading)
        .await
        .unwrap_or_else(|_elapsed| {
            let seconds = time_max.as_secs();
            Err(ReadError::TooSlow(format!(
                "the body did not arrive within {seconds} s"
            )))
        });
    if let Err(ReadError::TooLong) = read {
        discard(body, bytes_max.saturating_mul(DISCARDED_TIMES_MAX)).await;
    }
    read
}

/// Reads what a client sends along with a request that is refused, and throws it away.
pub(crate) async fn discard_refused<B>(request: Request<B>, bytes_max: usize)
where
    B: Body<Data = Bytes> + Unpin,
{
    // A client that asked first has sent nothing, and will not.
    if !request.headers().contains_key(header::EXPECT) {
        discard(request.into_body(), bytes_max.saturating_mul(DISCARDED_TIMES_MAX)).await;
    }
}

/// Reads up to `bytes_max` of a body, and throws them away.
pub(crate) async fn discard<B>(mut body: B, bytes_max: usize)
where
    B: Body<Data = Bytes> + Unpin,
{
    let discarding = async {
        let mut seen = 0;
        while seen < bytes_max
            && let Some(Ok(frame)) = body.frame().await
        {
            seen += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // Too slow a client has had its chance.
    let _ = tokio::time::timeout(DISCARD_TIME_MAX, discarding).await;
}
