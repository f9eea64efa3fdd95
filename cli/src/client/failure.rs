//! Turns what can go wrong between client and server into sentences.

use reqwest::header::HeaderValue;
use reqwest::{Response, StatusCode, Url};

use crate::api::Problem;
use crate::error::{CliError, ErrorKind, cause_text};

const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// No answer, or one that broke off.
pub(super) fn of_transport(server: &Url, cause: &reqwest::Error) -> CliError {
    let message = if cause.is_builder() {
        format!("cannot make a connection to {server}: {}", cause_text(cause))
    } else if cause.is_connect() {
        format!("no Mayfly server answers at {server}: {}", cause_text(cause))
    } else if cause.is_timeout() {
        format!("the server at {server} took too long to answer")
    } else {
        format!("the connection to {server} broke: {}", cause_text(cause))
    };
    let error = unreachable(message);
    if cause.is_connect() {
        return error.hint("start a server with `fn serve`, or name another one with --url or MAYFLY_URL");
    }
    error.hint("look at the server's own log; a server also hangs up on much more data than it accepts")
}

/// The failure that an answer reports; none when it is no problem document of the platform.
pub(super) fn of_problem(status: StatusCode, content_type: Option<&HeaderValue>, body: &[u8]) -> Option<CliError> {
    if !is_problem(content_type) {
        return None;
    }
    let problem: Problem = serde_json::from_slice(body).ok()?;
    let message = problem.detail.or(problem.title).unwrap_or_else(|| status.to_string());
    let error = CliError::new(kind_of(status), problem.code, message).with_invocation(problem.invocation_id);
    Some(problem.hint.into_iter().fold(error, CliError::hint))
}

/// Whether a body claims to be a problem document.
pub(super) fn is_problem(content_type: Option<&HeaderValue>) -> bool {
    content_type.is_some_and(|content_type| content_type.as_bytes().starts_with(PROBLEM_CONTENT_TYPE.as_bytes()))
}

/// An answer that no Mayfly server gives: of a proxy, or of something else at that address.
pub(super) fn not_ours(server: &Url, status: StatusCode) -> CliError {
    let message = format!("what answers at {server} (HTTP {status}) does not speak the API of Mayfly");
    let error = match kind_of(status) {
        ErrorKind::Refused => CliError::new(ErrorKind::Refused, "unauthorized", message),
        _ => unreachable(message),
    };
    error
        .hint("use the admin address of `fn serve`, port 8081 by default; a proxy in between may also answer like this")
}

/// Reads an answer to its end, if that is at most `bytes_max` away.
pub(super) async fn body_of(server: &Url, response: &mut Response, bytes_max: usize) -> Result<Vec<u8>, CliError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|cause| of_transport(server, &cause))? {
        if body.len() + chunk.len() > bytes_max {
            let message = format!(
                "the answer is longer than {} MiB, too long to be held in memory",
                bytes_max >> 20
            );
            return Err(CliError::new(ErrorKind::Failed, "bad_response", message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn kind_of(status: StatusCode) -> ErrorKind {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => ErrorKind::Refused,
        _ => ErrorKind::Failed,
    }
}

fn unreachable(message: String) -> CliError {
    CliError::new(ErrorKind::Unreachable, "server_unreachable", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: StatusCode, content_type: &'static str, body: &str) -> Option<CliError> {
        of_problem(status, Some(&HeaderValue::from_static(content_type)), body.as_bytes())
    }

    #[test]
    fn problems_keep_their_words() {
        let body = r#"{"type":"urn:mayfly:error:x","title":"T","status":429,"detail":"d","code":"concurrency_limit",
            "hint":"h","invocation_id":"i"}"#;
        let error = problem(
            StatusCode::TOO_MANY_REQUESTS,
            "application/problem+json; charset=utf-8",
            body,
        )
        .unwrap();
        assert_eq!(
            (error.kind(), error.code(), error.message()),
            (ErrorKind::Refused, "concurrency_limit", "d")
        );
        assert_eq!(
            (error.hints(), error.invocation_id()),
            (&["h".to_owned()][..], Some("i"))
        );
    }

    #[test]
    fn the_status_decides_the_exit_code() {
        for (status, exit_code) in [
            (401, 4),
            (403, 4),
            (429, 4),
            (404, 1),
            (422, 1),
            (500, 1),
            (503, 1),
            (504, 1),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = problem(status, "application/problem+json", r#"{"code":"x"}"#).unwrap();
            assert_eq!(error.kind().exit_code(), exit_code, "{status}");
        }
    }

    #[test]
    fn other_answers_are_not_taken_for_problems() {
        assert!(problem(StatusCode::BAD_GATEWAY, "text/html", "<html>").is_none());
        assert!(problem(StatusCode::BAD_GATEWAY, "application/json", r#"{"code":"x"}"#).is_none());
        assert!(problem(StatusCode::BAD_GATEWAY, "application/problem+json", "{}").is_none());
        let server = Url::parse("http://h").unwrap();
        assert_eq!(not_ours(&server, StatusCode::BAD_GATEWAY).kind().exit_code(), 3);
        assert_eq!(not_ours(&server, StatusCode::FORBIDDEN).kind().exit_code(), 4);
    }
}
