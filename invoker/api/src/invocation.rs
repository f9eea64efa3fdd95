//! One invocation as the invoker sees it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use serde::{Deserialize, Serialize};

use crate::{
    AllowedHost, CodeKey, Digest, FunctionName, Gauge, InvocationId, InvokeError, Isolation, Namespace, Services,
    SnapshotMode,
};

/// A streamed body. The response's body ends, well or with an error, only after the guest has ended.
pub type Body = UnsyncBoxBody<Bytes, InvokeError>;

/// What a guest exports, found out from its file at deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `wasi:http/incoming-handler`: a request in, a response out, both streamed.
    Http,
    /// `mayfly:function/handler`: an event and its context in, an answer out.
    Event,
    /// `wasi:cli/run`: the event on standard input, the answer on standard output.
    Command,
}

impl Kind {
    /// The name used in the API and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Event => "event",
            Self::Command => "command",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Http, Self::Event, Self::Command]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// What a guest may use in one invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All linear memories of the instance together, in bytes.
    pub memory_bytes: u64,
    /// Wall time from the moment that the code is there to the end of the guest.
    pub timeout: Duration,
    /// Invocations that one instance serves before it is given up; at least 1.
    pub requests_per_instance_max: u32,
    /// Instances of the version that are alive at once; more calls wait for one of them. At least 1.
    pub instances_max: u32,
    /// Instances of the version that are kept although nobody calls.
    pub warm_min: u32,
}

/// Which code to run and how; made once per version and shared by its invocations.
#[derive(Debug, Clone)]
pub struct Target {
    /// Owner of the function.
    pub namespace: Namespace,
    /// The function.
    pub function: FunctionName,
    /// Number of the version, from 1.
    pub version: u32,
    /// The wasm bytes.
    pub artifact: Digest,
    /// sha256 of the configuration; instances are never shared between two of them.
    pub config: Digest,
    /// How the guest is called.
    pub kind: Kind,
    /// What it may use.
    pub limits: Limits,
    /// Which of its invocations may share an instance.
    pub isolation: Isolation,
    /// Whether its instances begin initialised.
    pub snapshot: SnapshotMode,
    /// Environment variables of the guest; nothing of the host's environment is added.
    pub env: Vec<(String, String)>,
    /// Hosts that the guest may send requests to.
    pub allow_hosts: Vec<AllowedHost>,
}

impl Target {
    /// The code that its instances are made of.
    #[must_use]
    pub fn code(&self) -> CodeKey {
        CodeKey::new(self.artifact, self.snapshot)
    }
}

/// What the guest is given.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once per invocation and moved, never kept in numbers"
)]
pub enum Input {
    /// For [`Kind::Http`].
    Http(http::Request<Body>),
    /// For [`Kind::Event`] and [`Kind::Command`].
    Payload(Bytes),
}

/// One attempt to run a function for one event.
#[derive(Debug)]
pub struct Invocation {
    /// Names this attempt.
    pub id: InvocationId,
    /// Stays the same over the attempts of one event; `None` where it is the id of the invocation.
    pub event_id: Option<String>,
    /// Counts from 1.
    pub attempt: u32,
    /// How many events led to this one.
    pub depth: u32,
    /// What to run.
    pub target: Arc<Target>,
    /// W3C `traceparent` of the caller, for the guest to pass on.
    pub trace_parent: Option<String>,
    /// With [`Isolation::Key`]: the sha256 of the header's value, `None` without the header.
    pub partition: Option<Digest>,
    /// What to run it on.
    pub input: Input,
    /// Where the invoker writes what was consumed and printed.
    pub gauge: Arc<Gauge>,
    /// Answers what the guest asks the platform.
    pub services: Arc<dyn Services>,
}

/// What the guest answered; of the same sort as the input.
#[derive(Debug)]
pub enum Output {
    /// From [`Kind::Http`]; the body may still be streaming.
    Http(http::Response<Body>),
    /// From [`Kind::Event`] and [`Kind::Command`]; the guest has ended.
    Payload(Bytes),
}
