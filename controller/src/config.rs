//! Every bound of the controller, named with its unit.

use std::time::Duration;

/// How much of the machine a controller may use, and how patient it is.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Invocations admitted and not yet answered.
    pub invocations_in_flight_max: usize,
    /// Open connections per listener; more wait in the kernel's queue.
    pub connections_max: usize,
    /// Body of a request to an http function, in bytes; it is streamed.
    pub request_body_bytes_max: u64,
    /// Payload of an event or command function, in bytes; it is kept in memory.
    pub payload_bytes_max: usize,
    /// Payloads that are arriving at once.
    pub payloads_arriving_max: usize,
    /// How long a client may take to send a payload.
    pub payload_time_max: Duration,
    /// How long a client may take to send the head of a request.
    pub head_time_max: Duration,
    /// How long a client may leave what was sent to it unread before its connection is closed; for that long, too, an
    /// answer may wait for its reader after the function's time limit.
    pub write_time_max: Duration,
    /// Size of an artifact, in bytes.
    pub artifact_bytes_max: usize,
    /// How long a change made by another controller may go unseen.
    pub route_age_max: Duration,
    /// Functions whose routes are kept in memory.
    pub routes_max: u64,
    /// How long a stopping server waits for invocations that are still running.
    pub drain_time_max: Duration,
    /// Attempts to deliver events that run at once; they are among the invocations in flight.
    pub events_in_flight_max: u32,
    /// Events of one namespace that wait.
    pub backlog_events_max: u64,
    /// Their payloads together, in bytes.
    pub backlog_bytes_max: u64,
    /// How long an event that was delivered can be seen, with its result.
    pub result_kept: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            invocations_in_flight_max: 900,
            connections_max: 10_000,
            request_body_bytes_max: 100 << 20,
            payload_bytes_max: 6 << 20,
            payloads_arriving_max: 256,
            payload_time_max: Duration::from_secs(30),
            head_time_max: Duration::from_secs(10),
            write_time_max: Duration::from_secs(30),
            artifact_bytes_max: 64 << 20,
            route_age_max: Duration::from_secs(1),
            routes_max: 10_000,
            drain_time_max: Duration::from_millis(TIMEOUT_MS_MAX),
            events_in_flight_max: 450,
            backlog_events_max: 1_000_000,
            backlog_bytes_max: 4 << 30,
            result_kept: Duration::from_hours(24),
        }
    }
}

/// Largest memory limit of a function, in MiB.
pub const MEMORY_MIB_MAX: u32 = 512;
/// Longest time limit of a function, in milliseconds.
pub const TIMEOUT_MS_MAX: u64 = 900_000;
/// Invocations that one instance may serve.
pub(crate) const REQUESTS_PER_INSTANCE_MAX: u32 = 1_000_000;
/// Instances of one version that may be alive at once.
pub const INSTANCES_MAX: u32 = 1_000;
/// Instances of one version that may be kept warm.
pub(crate) const MIN_WARM_MAX: u32 = 100;
/// Environment variables of a function.
pub(crate) const ENV_VARS_MAX: usize = 128;
/// Names and values of a function's environment together, in bytes.
pub(crate) const ENV_BYTES_MAX: usize = 32 << 10;
/// Entries of a function's allow list for outbound requests.
pub(crate) const ALLOWED_HOSTS_MAX: usize = 64;
/// How long a client may take to upload an artifact.
pub(crate) const UPLOAD_TIME_MAX: Duration = Duration::from_secs(300);
/// How long a request waits for the database when its function is known from before.
pub(crate) const LOOK_UP_TIME_MAX: Duration = Duration::from_millis(250);
/// A body that is too long is read on up to this many times its bound before it is cut off.
pub(crate) const DISCARDED_TIMES_MAX: usize = 4;
/// How long a body that is too long is read on.
pub(crate) const DISCARD_TIME_MAX: Duration = Duration::from_secs(10);
/// Body of an API request other than artifacts and payloads, in bytes.
pub(crate) const API_BODY_BYTES_MAX: usize = 256 << 10;
/// Rows of one page of a listing.
pub(crate) const PAGE_ROWS_MAX: u32 = 1_000;
/// Versions that are shown with a function.
pub(crate) const VERSIONS_SHOWN_MAX: u32 = 100;
/// Functions whose code is loaded after a start, before they are called.
pub(crate) const PREFETCHED_FUNCTIONS_MAX: u32 = 64;
/// Native code that is loaded after a start before it is called, in bytes; the last one may go beyond it.
pub(crate) const PREFETCHED_BYTES_MAX: u64 = 256 << 20;
/// Header fields of a request.
pub(crate) const HEADERS_MAX: usize = 100;
/// Head of a request: request line and header fields, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 48 << 10;
/// Streams of one HTTP/2 connection at once.
pub(crate) const HTTP2_STREAMS_MAX: u32 = 100;
/// Result of an event that is kept, in bytes; of a larger one only the size is known.
pub(crate) const RESULT_BYTES_MAX: usize = 256 << 10;
/// Events in a row, each of which led to the next.
pub(crate) const EVENT_DEPTH_MAX: u32 = 16;
/// From the look-up of a webhook's host to the end of its answer.
pub(crate) const WEBHOOK_TIME_MAX: Duration = Duration::from_secs(15);
/// Answer of a webhook, in bytes; more of it is not read.
pub(crate) const WEBHOOK_ANSWER_BYTES_MAX: usize = 64 << 10;
/// Answer of a webhook that is kept, in bytes; of a larger one only the size is known.
pub(crate) const WEBHOOK_RESULT_BYTES_MAX: usize = 4 << 10;
/// How long the former secret of a namespace signs its webhooks, too.
pub(crate) const FORMER_SECRET_SIGNS: Duration = Duration::from_hours(24);
/// How long an event that could not be delivered is kept.
pub(crate) const UNDELIVERED_KEPT: Duration = Duration::from_hours(14 * 24);
/// How long it is known which ticks of schedules have fired.
pub(crate) const TICKS_KEPT: Duration = Duration::from_hours(32 * 24);
/// How far ahead an event may be due.
pub(crate) const DELAY_MAX: Duration = Duration::from_hours(366 * 24);
/// The same for an event that comes through a function's endpoint, where nobody needs a token.
pub(crate) const ENDPOINT_DELAY_MAX: Duration = Duration::from_mins(15);
/// How long the answer to a request with an Idempotency-Key is given again.
pub(crate) const KEY_KEPT: Duration = Duration::from_hours(24);
/// Length of an Idempotency-Key, in characters.
pub(crate) const KEY_CHARS_MAX: usize = 255;
/// Answer to a request with an Idempotency-Key, in bytes.
pub(crate) const KEPT_ANSWER_BYTES_MAX: usize = 6 << 20;
/// Triggers of one namespace.
pub(crate) const TRIGGERS_MAX: u64 = 200_000;
/// The `detail` that a schedule gives to its function, in bytes of JSON.
pub(crate) const DETAIL_BYTES_MAX: usize = 64 << 10;
/// The longest jitter of a schedule, in seconds.
pub(crate) const JITTER_SECONDS_MAX: u32 = 3_600;
/// Events that are redriven or purged by one request.
pub(crate) const REDRIVEN_MAX: usize = 10_000;
/// Queues of one namespace.
pub(crate) const QUEUES_MAX: u64 = 10_000;
/// Triggers that the messages of one queue may go to.
pub(crate) const SUBSCRIBERS_MAX: usize = 100;
/// Body of a message, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Attributes of a message.
pub(crate) const ATTRIBUTES_MAX: usize = 32;
/// Names and values of a message's attributes together, in bytes of the JSON in which each event keeps them.
pub(crate) const ATTRIBUTES_BYTES_MAX: usize = 16 << 10;
/// Events that messages sent at once may become, and their bodies and attributes in bytes.
pub(crate) const EVENTS_AT_ONCE_MAX: usize = 1_000;
pub(crate) const EVENTS_AT_ONCE_BYTES_MAX: usize = 32 << 20;
/// Messages of one request.
pub(crate) const MESSAGES_AT_ONCE_MAX: usize = 100;
/// A request with messages, in bytes of JSON.
pub(crate) const MESSAGES_BODY_BYTES_MAX: usize = 8 << 20;
/// Messages that are received at once.
pub(crate) const RECEIVED_AT_ONCE_MAX: u32 = 100;
/// How long a request may wait for a message.
pub(crate) const RECEIVE_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long a message may be kept from others, in seconds.
pub(crate) const VISIBILITY_SECONDS_MAX: u32 = 12 * 3_600;
/// How long a message may wait in a queue, in seconds.
pub(crate) const RETENTION_SECONDS_MAX: u32 = 14 * 24 * 3_600;
/// How long a message may be kept from everybody, in seconds.
pub(crate) const MESSAGE_DELAY_SECONDS_MAX: u32 = 15 * 60;
/// Queues of RabbitMQ that one process takes messages of; each costs a connection and a thread.
pub(crate) const AMQP_CONSUMERS_MAX: usize = 128;
/// Body of a message of RabbitMQ, in bytes; written as base64 it still fits what a function may be given.
pub(crate) const AMQP_MESSAGE_BYTES_MAX: usize = 4 << 20;
/// URL of a broker, in bytes.
pub(crate) const AMQP_URL_BYTES_MAX: usize = 1_024;
/// Name of a queue of RabbitMQ, in bytes; the protocol's own bound.
pub(crate) const AMQP_NAME_BYTES_MAX: usize = 255;
/// Messages that a function may be given at once.
pub(crate) const BATCH_MAX: u32 = 1_000;
/// Bodies of the messages that a function is given at once, in bytes; one alone may be larger.
pub(crate) const BATCH_BYTES_MAX: u64 = 4 << 20;
/// How long a message may wait for others to come along, in milliseconds.
pub(crate) const WINDOW_MS_MAX: u32 = 300_000;
/// The pattern of a trigger, in bytes of JSON.
pub(crate) const FILTER_BYTES_MAX: usize = 8 << 10;
/// How deep a pattern may be.
pub(crate) const FILTER_DEPTH_MAX: usize = 32;
/// An order key that is kept as it is, in bytes.
pub(crate) const ORDER_KEY_BYTES_MAX: usize = 256;
/// How a trigger says where the order key is, in bytes.
pub(crate) const ORDER_PATH_BYTES_MAX: usize = 256;
/// Buckets of one namespace.
pub(crate) const BUCKETS_MAX: u64 = 1_000;
/// Triggers that wait for changes of one bucket.
pub(crate) const WATCHERS_MAX: usize = 100;
/// Notifications of other storages that are received at once.
pub(crate) const NOTIFICATIONS_AT_ONCE_MAX: usize = 64;
/// A notification of another storage, in bytes.
pub(crate) const NOTIFICATION_BYTES_MAX: usize = 1 << 20;
/// Changes that one of them tells.
pub(crate) const NOTIFICATION_RECORDS_MAX: usize = 1_000;
/// An object, or a part of one, in bytes.
pub(crate) const OBJECT_BYTES_MAX: u64 = 5 << 30;
/// An object that came in parts, in bytes.
pub(crate) const UPLOADED_BYTES_MAX: u64 = 5 << 40;
/// Key of an object, in bytes.
pub(crate) const OBJECT_KEY_BYTES_MAX: usize = 1_024;
/// What the owner of an object notes about it, names and values together, in bytes.
pub(crate) const OBJECT_META_BYTES_MAX: usize = 2 << 10;
/// A document in the body of an S3 request, in bytes; it is kept in memory.
pub(crate) const S3_DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// Bytes of one S3 request that are kept in memory until they can be written: a chunk that is signed by itself is.
pub(crate) const S3_CHUNK_BYTES_MAX: u64 = 16 << 20;
/// Parts of one upload.
pub(crate) const PARTS_MAX: u32 = 10_000;
/// A part that is not the last one of its object, in bytes.
pub(crate) const PART_BYTES_MIN: u64 = 5 << 20;
/// Uploads to one bucket that have not ended.
pub(crate) const UPLOADS_MAX: u64 = 1_000;
/// How long an upload may take before it is given up.
pub(crate) const UPLOAD_KEPT: Duration = Duration::from_hours(7 * 24);
/// How long the files of an object that was deleted or replaced stay: somebody may be reading.
pub(crate) const CONTENT_KEPT: Duration = Duration::from_hours(1);
