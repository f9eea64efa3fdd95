//! What a request asks for.

use serde_json::{Value, json};
use wasip2::http::types::{IncomingRequest, Method, Scheme};

/// A path with its parameters.
pub(crate) struct Wish(String);

impl Wish {
    pub(crate) fn of(request: &IncomingRequest) -> Self {
        Self(request.path_with_query().unwrap_or_default())
    }

    pub(crate) fn path(&self) -> &str {
        self.0.split_once('?').map_or(self.0.as_str(), |(path, _)| path)
    }

    /// The parameter called `name`, or `default` when it is missing or not a number.
    pub(crate) fn number(&self, name: &str, default: u64) -> u64 {
        self.text(name).parse().unwrap_or(default)
    }

    /// The parameter called `name` as it stands there, or nothing.
    pub(crate) fn text(&self, name: &str) -> &str {
        let query = self.0.split_once('?').map_or("", |(_, query)| query);
        let mut parameters = query.split('&').filter_map(|parameter| parameter.split_once('='));
        parameters
            .find_map(|(key, value)| (key == name).then_some(value))
            .unwrap_or_default()
    }
}

/// All that the function can see, for the test to compare.
pub(crate) fn describe(request: &IncomingRequest) -> Value {
    let headers = request.headers().entries();
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| json!([name, String::from_utf8_lossy(value)]))
        .collect();
    json!({
        "method": method(&request.method()),
        "path": request.path_with_query(),
        "scheme": request.scheme().map(scheme),
        "authority": request.authority(),
        "headers": headers,
        "env": std::env::vars().collect::<std::collections::BTreeMap<_, _>>(),
        "args": std::env::args().collect::<Vec<_>>(),
    })
}

pub(crate) fn method(method: &Method) -> String {
    match method {
        Method::Other(name) => name.clone(),
        known => format!("{known:?}").trim_start_matches("Method::").to_uppercase(),
    }
}

fn scheme(scheme: Scheme) -> String {
    match scheme {
        Scheme::Http => "http".to_owned(),
        Scheme::Https => "https".to_owned(),
        Scheme::Other(name) => name,
    }
}
