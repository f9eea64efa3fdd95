//! `GET /v1/ns/{ns}/functions/{name}/logs`: what functions printed.

use axum::Json;
use axum::extract::State;
use mayfly_invoker_api::LogStream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::admin::Admin;
use crate::admin::extract::{NamedFunction, Params, invalid_parameter, page_rows, require_function, time};
use crate::admin::invocations::flush;
use crate::problem::{Problem, ProblemDocument};
use crate::store::{LogCursor, LogLine};

/// One line of output.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogEntryView {
    /// When it was printed, RFC 3339.
    at: String,
    invocation_id: String,
    version: u32,
    /// `stdout` or `stderr`.
    stream: &'static str,
    /// The line, without the line feed at its end.
    text: String,
}

/// Output, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Logs {
    entries: Vec<LogEntryView>,
    /// Give this as `after` for what is printed later.
    next: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Lines of this page.
    limit: Option<u32>,
    /// `next` of an earlier page. Without it: the newest lines.
    after: Option<String>,
}

impl From<LogLine> for LogEntryView {
    fn from(line: LogLine) -> Self {
        Self {
            at: time(line.at_ms),
            invocation_id: line.invocation_id.to_string(),
            version: line.version,
            stream: match line.stream {
                LogStream::Stdout => "stdout",
                LogStream::Stderr => "stderr",
            },
            text: line.text.trim_end_matches(['\n', '\r']).to_owned(),
        }
    }
}

/// Shows what the function printed. Output can be read when its invocation has ended.
#[utoipa::path(get, path = "/v1/ns/{ns}/functions/{name}/logs",
    operation_id = "list_logs", security(("bearer" = [])),
    params(("ns" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Function"), Page),
    responses((status = 200, body = Logs), (status = 400, body = ProblemDocument)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    NamedFunction(namespace, name): NamedFunction,
    Params(page): Params<Page>,
) -> Result<Json<Logs>, Problem> {
    let limit = page_rows(page.limit, 100)?;
    let after = page
        .after
        .map(|cursor| cursor.parse::<LogCursor>())
        .transpose()
        .map_err(invalid_parameter)?;
    flush(&admin).await?;
    let page = admin.parts.store.logs(&namespace, &name, after, limit).await?;
    if page.entries.is_empty() {
        require_function(&admin, &namespace, &name).await?;
    }
    let entries = page.entries.into_iter().map(LogEntryView::from).collect();
    Ok(Json(Logs {
        entries,
        next: page.next.to_string(),
    }))
}
