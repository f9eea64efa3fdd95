//! The answer to an invocation: of the function, or of the platform in its place.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Response, StatusCode, Url};

use super::failure;
use super::transport::DOCUMENT_BYTES_MAX;
use crate::error::CliError;

const INVOCATION_ID_HEADER: &str = "mayfly-invocation-id";

/// An answer whose body is still coming.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Names the record of the invocation.
    pub(crate) invocation_id: String,
    pub(crate) status: StatusCode,
    /// What the platform says in place of the function, which did not answer.
    pub(crate) problem: Option<CliError>,
    server: Url,
    /// The body, when it was read to find out whether it is a problem.
    known: Option<Vec<u8>>,
    response: Response,
}

impl Reply {
    /// Reads the head of an answer, and the whole of a problem.
    ///
    /// # Errors
    /// When nothing was invoked.
    pub(super) async fn receive(server: &Url, mut response: Response) -> Result<Self, CliError> {
        let status = response.status();
        let invocation_id = invocation_id(response.headers());
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let mut known = None;
        let mut problem = None;
        if failure::is_problem(content_type.as_ref()) {
            let body = failure::body_of(server, &mut response, DOCUMENT_BYTES_MAX).await?;
            problem = failure::of_problem(status, content_type.as_ref(), &body);
            known = Some(body);
        }
        let id = invocation_id.or_else(|| problem.as_ref()?.invocation_id().map(str::to_owned));
        match (id, problem) {
            (Some(invocation_id), problem) => Ok(Self {
                invocation_id,
                status,
                problem,
                server: server.clone(),
                known,
                response,
            }),
            (None, Some(problem)) => Err(problem),
            (None, None) => Err(failure::not_ours(server, status)),
        }
    }

    /// The next bytes of the body; none at its end.
    ///
    /// # Errors
    /// When the body breaks off.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, CliError> {
        if let Some(known) = self.known.take() {
            return Ok(Some(known));
        }
        let chunk = self
            .response
            .chunk()
            .await
            .map_err(|cause| failure::of_transport(&self.server, &cause))?;
        Ok(chunk.map(Into::into))
    }
}

fn invocation_id(headers: &HeaderMap) -> Option<String> {
    headers.get(INVOCATION_ID_HEADER)?.to_str().ok().map(str::to_owned)
}
