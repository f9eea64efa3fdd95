//! From a path to a version: `/NAME/rest` in the namespace `default`, `/@NAMESPACE/NAME/rest` in any.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri};
use mayfly_invoker_api::{Body, FunctionName, Limits, Namespace, Target};

use crate::code::Code;
use crate::config::Bounds;
use crate::ledger::Trigger;
use crate::problem::Problem;
use crate::store::{Store, StoreError, Version};

/// A request that has found its function. The path is the one that the guest will see.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) target: Arc<Target>,
    pub(crate) trigger: Trigger,
    pub(crate) request: Request<Body>,
    pub(crate) peer: SocketAddr,
}

/// Finds functions, from memory where it can.
pub(crate) struct Routes {
    store: Store,
    /// By path prefix (`name` or `@namespace/name`); functions that do not exist are remembered too.
    known: moka::future::Cache<String, Option<Arc<Target>>>,
}

/// The two parts of a path: which function, and what is left for it.
struct Split<'a> {
    prefix: &'a str,
    namespace: Option<&'a str>,
    name: &'a str,
    rest: &'a str,
}

impl Routes {
    pub(crate) fn new(bounds: &Bounds, store: Store) -> Self {
        // Changes made here are seen at once (see `forget`), those of other controllers after this time.
        let known = moka::future::Cache::builder()
            .max_capacity(bounds.routes_max)
            .time_to_live(bounds.route_age_max)
            .build();
        Self { store, known }
    }

    /// Finds the function of a request to the functions listener.
    pub(crate) async fn find(&self, mut request: Request<Body>, peer: SocketAddr) -> Result<Routed, Problem> {
        let path = request.uri().path();
        let split = split(path).ok_or_else(|| no_function_at(path))?;
        let target = match self.known.get(split.prefix).await {
            Some(known) => known,
            None => self.look_up(&split).await?,
        };
        let target = target.ok_or_else(|| no_function_named(split.name))?;
        let prefix = HeaderValue::try_from(&path[..=split.prefix.len()]);
        let inner = inner_uri(request.uri(), split.rest)?;
        *request.uri_mut() = inner;
        strip_foreign_headers(&mut request);
        if let Ok(prefix) = prefix {
            request.headers_mut().insert("x-forwarded-prefix", prefix);
        }
        if let Ok(peer) = HeaderValue::try_from(peer.ip().to_string()) {
            request.headers_mut().insert("x-forwarded-for", peer);
        }
        Ok(Routed {
            target,
            trigger: Trigger::Http,
            request,
            peer,
        })
    }

    /// Finds a function by its name, for the admin API.
    pub(crate) async fn target(&self, namespace: &Namespace, name: &FunctionName) -> Result<Arc<Target>, Problem> {
        let prefix = format!("@{namespace}/{name}");
        let split = Split {
            prefix: &prefix,
            namespace: Some(namespace.as_str()),
            name: name.as_str(),
            rest: "",
        };
        let known = match self.known.get(split.prefix).await {
            Some(known) => known,
            None => self.look_up(&split).await?,
        };
        known.ok_or_else(|| no_function_named(name.as_str()))
    }

    /// The function was deployed or deleted: the next request looks again.
    pub(crate) async fn forget(&self, namespace: &Namespace, name: &FunctionName) {
        self.known.invalidate(&format!("@{namespace}/{name}")).await;
        if *namespace == Namespace::default_namespace() {
            self.known.invalidate(name.as_str()).await;
        }
    }

    async fn look_up(&self, split: &Split<'_>) -> Result<Option<Arc<Target>>, Problem> {
        let Ok(name) = split.name.parse::<FunctionName>() else {
            return Ok(None);
        };
        let namespace = match split.namespace.map(str::parse::<Namespace>) {
            None => Namespace::default_namespace(),
            Some(Ok(namespace)) => namespace,
            Some(Err(_)) => return Ok(None),
        };
        let find = async {
            let version = self.store.function(&namespace, &name).await?;
            Ok::<_, StoreError>(version.map(|version| Arc::new(target_of(version))))
        };
        // Many who ask at once wait for one query.
        let found = self.known.try_get_with(split.prefix.to_owned(), find).await;
        found.map_err(|error| {
            tracing::error!(%error, "a route could not be looked up");
            Problem::new(Code::Internal, "the database could not be read")
        })
    }
}

fn target_of(version: Version) -> Target {
    Target {
        limits: Limits {
            memory_bytes: u64::from(version.config.memory_mib) << 20,
            timeout: Duration::from_millis(version.config.timeout_ms),
        },
        env: version.config.env.into_iter().collect(),
        namespace: version.namespace,
        function: version.name,
        version: version.number,
        artifact: version.artifact,
        config: version.config_digest,
        kind: version.kind,
    }
}

fn split(path: &str) -> Option<Split<'_>> {
    let path = path.strip_prefix('/')?;
    let (namespace, after_namespace) = match path.strip_prefix('@') {
        Some(named) => {
            let (namespace, rest) = named.split_once('/')?;
            (Some(namespace), rest)
        }
        None => (None, path),
    };
    let name = after_namespace.split('/').next().filter(|name| !name.is_empty())?;
    let rest = &after_namespace[name.len()..];
    let prefix = &path[..path.len() - rest.len()];
    Some(Split {
        prefix,
        namespace,
        name,
        rest,
    })
}

fn no_function_at(path: &str) -> Problem {
    Problem::new(Code::RouteNotFound, format!("there is no function at the path {path}"))
}

fn no_function_named(name: &str) -> Problem {
    Problem::new(Code::FunctionNotFound, format!("there is no function named {name}"))
}

/// The URI as the guest sees it: scheme and authority stay, the prefix goes.
fn inner_uri(uri: &Uri, rest: &str) -> Result<Uri, Problem> {
    let rest = if rest.is_empty() { "/" } else { rest };
    let path_and_query: Result<PathAndQuery, _> = match uri.query() {
        Some(query) => format!("{rest}?{query}").try_into(),
        None => rest.try_into(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.map_err(|error| Problem::new(Code::RouteNotFound, error.to_string()))?);
    Uri::from_parts(parts).map_err(|error| Problem::new(Code::RouteNotFound, error.to_string()))
}

/// Headers that only the platform may set.
fn strip_foreign_headers(request: &mut Request<Body>) {
    let headers = request.headers_mut();
    let foreign: Vec<_> = headers.keys().filter(|name| is_ours(name.as_str())).cloned().collect();
    for name in foreign {
        headers.remove(name);
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("mayfly-") || name.starts_with("x-forwarded-") || name == "forwarded"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> Option<(&str, Option<&str>, &str, &str)> {
        split(path).map(|split| (split.prefix, split.namespace, split.name, split.rest))
    }

    #[test]
    fn paths_split_into_function_and_rest() {
        assert_eq!(parts("/hello"), Some(("hello", None, "hello", "")));
        assert_eq!(parts("/hello/"), Some(("hello", None, "hello", "/")));
        assert_eq!(parts("/hello/a/b"), Some(("hello", None, "hello", "/a/b")));
        assert_eq!(
            parts("/@team/hello/a"),
            Some(("@team/hello", Some("team"), "hello", "/a"))
        );
        assert_eq!(parts("/"), None);
        assert_eq!(parts("//hello"), None);
        assert_eq!(parts("/@team"), None);
        assert_eq!(parts("*"), None);
    }

    #[test]
    fn the_guest_sees_the_rest_and_the_query() {
        let uri: Uri = "/hello/a?x=1&x=2".parse().unwrap();
        assert_eq!(inner_uri(&uri, "/a").unwrap(), "/a?x=1&x=2");
        let uri: Uri = "/hello?x".parse().unwrap();
        assert_eq!(inner_uri(&uri, "").unwrap(), "/?x");
    }
}
