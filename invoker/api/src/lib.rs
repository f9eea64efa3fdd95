//! The words that controller and invoker share.
//!
//! The controller holds an `Arc<dyn Invoke>` and cannot tell whether the invoker lives in its own process or in another
//! one. Nothing here knows wasmtime, sockets or a database.

mod allowed_host;
mod code;
mod destination;
mod error;
mod gauge;
mod ids;
mod invocation;
mod invoke;
mod isolation;
mod queue;
mod services;
mod webhook;

pub use allowed_host::AllowedHost;
pub use code::{CodeCounters, CodeKey, Init, Prepared, SnapshotMode};
pub use destination::{Destination, Host};
pub use error::{InvokeError, InvokeErrorKind, PrepareError, PrepareErrorKind};
pub use gauge::{Gauge, LogEntry, LogStream, Logs, Start};
pub use ids::{BucketName, Digest, EventId, FunctionName, InvocationId, Namespace, ParseError, QueueName};
pub use invocation::{Body, Input, Invocation, Kind, Limits, Output, Target};
pub use invoke::{ArtifactSource, Invoke, PoolState};
pub use isolation::Isolation;
pub use queue::{OutgoingMessage, Refusal, SentMessage};
pub use services::{Caller, Services, service_of};
pub use webhook::{Webhook, WebhookAnswer, WebhookError, WebhookErrorKind, WebhookUrl};
