//! Path parameters, queries and JSON bodies, parsed once; what cannot be parsed becomes a problem document.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use chrono::{DateTime, SecondsFormat, Utc};
use http::request::Parts;
use mayfly_invoker_api::{FunctionName, Namespace};
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::admin::Admin;
use crate::code::Code;
use crate::config::PAGE_ROWS_MAX;
use crate::problem::Problem;

/// `{ns}`, which must exist.
pub(crate) struct InNamespace(pub(crate) Namespace);

/// `{ns}` and `{name}`; the namespace must exist, the function need not.
pub(crate) struct NamedFunction(pub(crate) Namespace, pub(crate) FunctionName);

/// A query string.
pub(crate) struct Params<T>(pub(crate) T);

/// Which page of what is listed by name.
#[derive(Debug, serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageByName {
    /// Rows of this page.
    pub(crate) limit: Option<u32>,
    /// The name after which this page begins.
    pub(crate) after: Option<String>,
}

/// A JSON body.
pub(crate) struct Document<T>(pub(crate) T);

#[derive(serde::Deserialize)]
struct NamespaceInPath {
    ns: String,
}

#[derive(serde::Deserialize)]
struct NameInPath {
    name: String,
}

impl FromRequestParts<Admin> for InNamespace {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let NamespaceInPath { ns } = path(parts).await?;
        let namespace: Namespace = ns.parse().map_err(invalid_name)?;
        if !admin.parts.store.namespace_exists(&namespace).await? {
            return Err(Problem::new(
                Code::NamespaceNotFound,
                format!("there is no namespace named {namespace}"),
            ));
        }
        Ok(Self(namespace))
    }
}

impl FromRequestParts<Admin> for NamedFunction {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let InNamespace(namespace) = InNamespace::from_request_parts(parts, admin).await?;
        let NameInPath { name } = path(parts).await?;
        Ok(Self(namespace, name.parse().map_err(invalid_name)?))
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Admin> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let Query(params) = Query::from_request_parts(parts, admin)
            .await
            .map_err(|rejection| Problem::new(Code::InvalidParameter, rejection.body_text()))?;
        Ok(Self(params))
    }
}

impl<T: DeserializeOwned> FromRequest<Admin> for Document<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, admin: &Admin) -> Result<Self, Problem> {
        match Json::from_request(request, admin).await {
            Ok(Json(document)) => Ok(Self(document)),
            Err(JsonRejection::JsonDataError(error)) => Err(Problem::new(
                Code::InvalidConfig,
                format!("a field of the document is wrong: {}", error.body_text()),
            )),
            Err(JsonRejection::BytesRejection(error)) => Err(Problem::new(Code::PayloadTooLarge, error.body_text())),
            Err(other) => Err(Problem::new(Code::InvalidJson, other.body_text())),
        }
    }
}

async fn path<T: DeserializeOwned + Send>(parts: &mut Parts) -> Result<T, Problem> {
    let Path(path) = Path::from_request_parts(parts, &())
        .await
        .map_err(|rejection| Problem::new(Code::InvalidParameter, rejection.body_text()))?;
    Ok(path)
}

/// One parameter of the path, by name, that is not a namespace or a function.
pub(crate) fn invalid_parameter(error: impl std::fmt::Display) -> Problem {
    Problem::new(Code::InvalidParameter, error.to_string())
}

fn invalid_name(error: impl std::fmt::Display) -> Problem {
    Problem::new(Code::InvalidName, error.to_string())
}

/// Nothing is known of a function: that is an error if it does not exist either. What a deleted one has left can be read.
pub(crate) async fn require_function(admin: &Admin, namespace: &Namespace, name: &FunctionName) -> Result<(), Problem> {
    match admin.parts.store.function(namespace, name).await? {
        Some(_) => Ok(()),
        None => Err(Problem::new(
            Code::FunctionNotFound,
            format!("there is no function named {name}"),
        )),
    }
}

/// The asked number of rows, within the bound.
pub(crate) fn page_rows(asked: Option<u32>, default: u32) -> Result<u32, Problem> {
    match asked.unwrap_or(default) {
        rows @ 1..=PAGE_ROWS_MAX => Ok(rows),
        rows => Err(invalid_parameter(format!(
            "limit must be between 1 and {PAGE_ROWS_MAX}, not {rows}"
        ))),
    }
}

/// A point in time as the API writes it.
pub(crate) fn time(unix_ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(unix_ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}
