//! From a path to a version: `/NAME/rest` in the namespace `default`, `/@NAMESPACE/NAME/rest` in any.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use http::{HeaderValue, Request, Uri};
use mayfly_delivery::RetryPolicy;
use mayfly_invoker_api::{Body, EventId, FunctionName, Limits, Namespace, Target};

use crate::body;
use crate::code::Code;
use crate::config::{API_BODY_BYTES_MAX, Bounds, LOOK_UP_TIME_MAX};
use crate::events::{CloudEvent, Destination};
use crate::ingress::forward::{check_request, forwarded, inner_uri};
use crate::ingress::timing;
use crate::ledger::Trigger;
use crate::problem::Problem;
use crate::store::{DestinationSecrets, Store, StoreError, Version};

/// A request that has found its function. The path is the one that the guest will see.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) target: Arc<Target>,
    pub(crate) trigger: Trigger,
    pub(crate) request: Request<Body>,
    pub(crate) peer: SocketAddr,
    /// The client asked how long each part of the invocation took.
    pub(crate) timing_wanted: bool,
    /// For an attempt to deliver an event: of which.
    pub(crate) occurrence: Option<Occurrence>,
}

/// Which attempt of which event a run is.
#[derive(Debug, Clone)]
pub(crate) struct Occurrence {
    pub(crate) event: EventId,
    pub(crate) attempt: u32,
    /// How many events led to it.
    pub(crate) depth: u32,
    /// What an http function is told of an event that was no request.
    pub(crate) cloud_event: Option<CloudEvent>,
}

/// A function as it is deployed at the moment.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) target: Arc<Target>,
    pub(crate) retry: RetryPolicy,
    pub(crate) on_success: Option<Destination>,
    pub(crate) on_failure: Option<Destination>,
    /// What some destinations take to be reached.
    pub(crate) secrets: DestinationSecrets,
}

impl Route {
    pub(crate) fn of(version: Version) -> Self {
        Self {
            retry: version.config.retry,
            on_success: version.config.on_success.clone(),
            on_failure: version.config.on_failure.clone(),
            secrets: version.config.secrets.clone(),
            target: Arc::new(target_of(version)),
        }
    }
}

/// Finds functions, from memory where it can.
pub(crate) struct Routes {
    store: Store,
    /// By path prefix (`name` or `@namespace/name`); functions that do not exist are remembered too.
    known: moka::future::Cache<String, Option<Arc<Route>>>,
    /// What was known last, however long ago: better than nothing while the database is away.
    last_known: moka::sync::Cache<String, Arc<Route>>,
    /// Deployments and deletions made here.
    changes: AtomicU64,
}

/// The two parts of a path: which function, and what is left for it.
pub(super) struct Split<'a> {
    prefix: &'a str,
    namespace: Option<&'a str>,
    name: &'a str,
    rest: &'a str,
}

impl Split<'_> {
    /// The prefix and the URI that the guest is told; `uri` is the one that was split.
    pub(super) fn for_guest(&self, uri: &Uri) -> Result<(HeaderValue, Uri), Problem> {
        let prefix = HeaderValue::try_from(&uri.path()[..=self.prefix.len()])
            .map_err(|error| Problem::new(Code::RouteNotFound, error.to_string()))?;
        Ok((prefix, inner_uri(uri, self.rest)?))
    }
}

impl Routes {
    pub(crate) fn new(bounds: &Bounds, store: Store) -> Self {
        // Changes made here are seen at once (see `forget`), those of other controllers after this time.
        let known = moka::future::Cache::builder().max_capacity(bounds.routes_max);
        // Nobody else writes to a database that is not shared, so what is known stays true.
        let known = if store.is_shared() {
            known.time_to_live(bounds.route_age_max).build()
        } else {
            known.build()
        };
        let last_known = moka::sync::Cache::new(bounds.routes_max);
        Self {
            store,
            known,
            last_known,
            changes: AtomicU64::new(0),
        }
    }

    /// Finds the function of a request to the functions listener.
    pub(crate) async fn find(&self, request: Request<Body>, peer: SocketAddr) -> Result<Routed, Problem> {
        let found = match check_request(&request) {
            Ok(()) => self.find_target(request.uri()).await,
            Err(problem) => Err(problem),
        };
        match found {
            Ok((target, prefix, inner)) => Ok(Routed {
                target,
                trigger: Trigger::Http,
                timing_wanted: timing::wanted(&request),
                request: forwarded(request, prefix, inner, peer),
                peer,
                occurrence: None,
            }),
            Err(problem) => {
                body::discard_refused(request, API_BODY_BYTES_MAX).await;
                Err(problem)
            }
        }
    }

    /// The target, the prefix that led to it, and the URI that is left for the guest.
    async fn find_target(&self, uri: &Uri) -> Result<(Arc<Target>, HeaderValue, Uri), Problem> {
        let path = uri.path();
        let split = split(path).ok_or_else(|| no_function_at(path))?;
        let route = match self.known.get(split.prefix).await {
            Some(known) => known,
            None => self.look_up(&split).await?,
        };
        let route = route.ok_or_else(|| no_function_named(split.name))?;
        let (prefix, inner) = split.for_guest(uri)?;
        Ok((Arc::clone(&route.target), prefix, inner))
    }

    /// Finds a function by its name, for the admin API.
    pub(crate) async fn target(&self, namespace: &Namespace, name: &FunctionName) -> Result<Arc<Target>, Problem> {
        let route = self.of(namespace, name).await?;
        Ok(Arc::clone(&route.target))
    }

    /// The same with all that the delivery of its events has to know.
    pub(crate) async fn of(&self, namespace: &Namespace, name: &FunctionName) -> Result<Arc<Route>, Problem> {
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
        self.changes.fetch_add(1, SeqCst);
        let prefix = format!("@{namespace}/{name}");
        self.known.invalidate(&prefix).await;
        self.last_known.invalidate(&prefix);
        if *namespace == Namespace::default_namespace() {
            self.known.invalidate(name.as_str()).await;
            self.last_known.invalidate(name.as_str());
        }
    }

    async fn look_up(&self, split: &Split<'_>) -> Result<Option<Arc<Route>>, Problem> {
        loop {
            let changes = self.changes.load(SeqCst);
            let found = self.ask(split).await;
            if self.changes.load(SeqCst) == changes {
                return found;
            }
            // Something was deployed or deleted meanwhile: what was found may be what was there before.
            self.known.invalidate(split.prefix).await;
        }
    }

    async fn ask(&self, split: &Split<'_>) -> Result<Option<Arc<Route>>, Problem> {
        let Ok(name) = split.name.parse::<FunctionName>() else {
            return Ok(None);
        };
        let namespace = match split.namespace.map(str::parse::<Namespace>) {
            None => Namespace::default_namespace(),
            Some(Ok(namespace)) => namespace,
            Some(Err(_)) => return Ok(None),
        };
        let find = async {
            let last = self.last_known.get(split.prefix);
            let asking = self.store.function(&namespace, &name);
            let answer = match &last {
                // Nobody waits for a database that is away, if there is something to go on with.
                Some(_) => tokio::time::timeout(LOOK_UP_TIME_MAX, asking)
                    .await
                    .unwrap_or_else(|elapsed| Err(StoreError::Unavailable(elapsed.into()))),
                None => asking.await,
            };
            match (answer, last) {
                (Ok(version), _) => Ok(self.remember(split.prefix, version)),
                (Err(StoreError::Unavailable(_)), Some(last)) => Ok(Some(last)),
                (Err(error), _) => Err(error),
            }
        };
        // Many who ask at once wait for one query.
        let found = self.known.try_get_with(split.prefix.to_owned(), find).await;
        found.map_err(|error| Problem::from(&*error))
    }

    fn remember(&self, prefix: &str, version: Option<Version>) -> Option<Arc<Route>> {
        let route = version.map(|version| Arc::new(Route::of(version)));
        match &route {
            Some(route) => self.last_known.insert(prefix.to_owned(), Arc::clone(route)),
            None => self.last_known.invalidate(prefix),
        }
        route
    }
}

/// How the invoker is told to run it.
pub(crate) fn target_of(version: Version) -> Target {
    Target {
        limits: Limits {
            memory_bytes: u64::from(version.config.memory_mib) << 20,
            timeout: Duration::from_millis(version.config.timeout_ms),
            requests_per_instance_max: version.config.max_requests_per_instance,
            instances_max: version.config.max_instances,
            warm_min: version.config.min_warm,
        },
        isolation: version.config.isolation,
        snapshot: version.config.snapshot,
        env: version.config.env.into_iter().collect(),
        allow_hosts: version.config.allow_hosts.into_iter().collect(),
        namespace: version.namespace,
        function: version.name,
        version: version.number,
        artifact: version.artifact,
        config: version.config_digest,
        kind: version.kind,
    }
}

pub(super) fn split(path: &str) -> Option<Split<'_>> {
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

/// Characters of a path or a name that are repeated in an answer.
const SHOWN_CHARS_MAX: usize = 100;

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

fn no_function_at(path: &str) -> Problem {
    let path = shown(path);
    Problem::new(Code::RouteNotFound, format!("there is no function at the path {path}"))
}

fn no_function_named(name: &str) -> Problem {
    let name = shown(name);
    Problem::new(Code::FunctionNotFound, format!("there is no function named {name}"))
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
}
