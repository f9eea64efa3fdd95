//! An answer that is written piece by piece.

use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::OutputStream;

/// The most that one blocking write may hold.
const WRITE_BYTES_MAX: usize = 4096;

/// A response whose head is sent. The stream is before the body, as it has to be dropped first.
pub(crate) struct Answer {
    stream: OutputStream,
    body: OutgoingBody,
}

impl Answer {
    /// Sends the head.
    pub(crate) fn begin(out: ResponseOutparam, status: u16) -> Self {
        let response = OutgoingResponse::new(Fields::new());
        response.set_status_code(status).expect("the status is a valid one");
        let body = response.body().expect("the body was not taken before");
        ResponseOutparam::set(out, Ok(response));
        Self {
            stream: body.write().expect("the stream was not taken before"),
            body,
        }
    }

    /// Sends a whole answer.
    pub(crate) fn text(out: ResponseOutparam, text: &str) {
        let answer = Self::begin(out, 200);
        if answer.write(text.as_bytes()) {
            answer.end();
        }
    }

    /// Sends `bytes` now; `false` when the client has gone.
    pub(crate) fn write(&self, bytes: &[u8]) -> bool {
        bytes
            .chunks(WRITE_BYTES_MAX)
            .all(|piece| self.stream.blocking_write_and_flush(piece).is_ok())
    }

    /// Says that this was all; an answer that is dropped instead is cut off.
    pub(crate) fn end(self) {
        drop(self.stream);
        // An error means that the client has gone: there is nobody left to tell.
        let _ = OutgoingBody::finish(self.body, None);
    }
}
