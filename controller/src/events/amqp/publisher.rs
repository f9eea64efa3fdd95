//! Messages for RabbitMQ: each is confirmed by the broker before its event has succeeded.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::rabbitmq::RabbitMqBasicProperties;
use bytes::Bytes;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use mayfly_delivery::Fault;
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use crate::code::Code;
use crate::events::judgement::Went;
use crate::problem::Problem;
use crate::sealing::{Seal, Sealed};
use crate::store::StoredResult;

/// From the first byte to the broker until its confirmation.
const PUBLISH_TIME_MAX: Duration = Duration::from_secs(10);
/// Connections that are kept; each costs a thread.
const CONNECTIONS_MAX: u64 = 32;
/// A connection that nobody used for so long is closed.
const IDLE_TIME_MAX: Duration = Duration::from_mins(5);
/// Tables and lists inside of each other that are written.
const HEADER_DEPTH_MAX: usize = 8;

/// Where a message goes, and what it is beside its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Publication {
    /// The broker's URL, and what it was sealed for.
    pub(crate) url: Sealed,
    pub(crate) purpose: String,
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) properties: Box<RabbitMqBasicProperties>,
}

/// Publishes, over connections that it keeps. A clone is cheap and means the same ones.
#[derive(Clone)]
pub(crate) struct Publisher {
    seal: Seal,
    /// By URL. Whoever waits for one broker is not in the way of another.
    channels: Cache<String, Arc<Open>>,
}

/// A channel that confirms, and its connection.
struct Open {
    _connection: Connection,
    channel: Channel,
}

impl Publisher {
    pub(crate) fn new(seal: Seal) -> Self {
        Self {
            seal,
            channels: Cache::builder()
                .max_capacity(CONNECTIONS_MAX)
                .time_to_idle(IDLE_TIME_MAX)
                .build(),
        }
    }

    /// Publishes `body`; well only when the broker has confirmed it and has put it into a queue.
    pub(crate) async fn publish(&self, publication: &Publication, body: &Bytes) -> Went {
        let refused = |message: String| Problem::new(Code::PublishFailed, message);
        let url = match self.seal.open(&publication.purpose, &publication.url) {
            Ok(url) => url,
            Err(error) => return Went::Badly(Fault::Permanent, refused(error.to_string())),
        };
        match timeout(PUBLISH_TIME_MAX, self.confirmed(&url, publication, body)).await {
            Ok(Ok(())) => Went::Well(StoredResult::empty()),
            Ok(Err(message)) => {
                // Whatever is wrong with it, the next one begins anew.
                self.channels.invalidate(&url).await;
                Went::Badly(Fault::Function, refused(message))
            }
            Err(_) => {
                // Whatever is wrong with it, the next one begins anew.
                self.channels.invalidate(&url).await;
                let seconds = PUBLISH_TIME_MAX.as_secs();
                Went::Badly(
                    Fault::Function,
                    refused(format!("the broker has not confirmed the message within {seconds} s")),
                )
            }
        }
    }

    async fn confirmed(&self, url: &str, publication: &Publication, body: &[u8]) -> Result<(), String> {
        let open = self.open(url).await.map_err(|error| error.to_string())?;
        let options = BasicPublishOptions {
            // Else a message that no queue takes would be confirmed, and gone.
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let sent = open
            .channel
            .basic_publish(
                publication.exchange.as_str().into(),
                publication.routing_key.as_str().into(),
                options,
                body,
                properties(&publication.properties),
            )
            .await;
        let confirmation = match sent {
            Ok(confirming) => confirming.await,
            Err(error) => Err(error),
        };
        match confirmation.map_err(|error| error.to_string())? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
                Err(format!("the broker has returned the message: {}", returned.reply_text))
            }
            Confirmation::Nack(None) => Err("the broker has refused the message".to_owned()),
            Confirmation::NotRequested => Err("the channel does not confirm".to_owned()),
        }
    }

    async fn open(&self, url: &str) -> Result<Arc<Open>, Arc<lapin::Error>> {
        if let Some(open) = self.channels.get(url).await
            && !open.channel.status().connected()
        {
            self.channels.invalidate(url).await;
        }
        self.channels.try_get_with_by_ref(url, connect(url)).await
    }
}

async fn connect(url: &str) -> Result<Arc<Open>, lapin::Error> {
    // It was read before it was sealed.
    let mut uri: AMQPUri = url
        .parse()
        .map_err(|_| std::io::Error::other("the URL of the broker cannot be read"))?;
    uri.query.heartbeat.get_or_insert(super::HEARTBEAT_SECONDS);
    let properties = ConnectionProperties::default().with_connection_name("mayfly publisher".into());
    let connection = Connection::connect_uri(uri, properties).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(Arc::new(Open {
        _connection: connection,
        channel,
    }))
}

/// As they came, persistent.
fn properties(of: &RabbitMqBasicProperties) -> BasicProperties {
    let mut properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_priority(of.priority);
    let headers = of.headers.iter().map(|(name, value)| (name, value_of(value, 0)));
    let mut table = FieldTable::default();
    for (name, value) in headers {
        if let Ok(name) = ShortString::try_new(name.as_str()) {
            table.insert(name, value);
        }
    }
    properties = properties.with_headers(table);
    let short = |text: &Option<String>| text.as_deref().and_then(|text| ShortString::try_new(text).ok());
    if let Some(value) = short(&of.content_type) {
        properties = properties.with_content_type(value);
    }
    if let Some(value) = short(&of.content_encoding) {
        properties = properties.with_content_encoding(value);
    }
    if let Some(value) = short(&of.correlation_id) {
        properties = properties.with_correlation_id(value);
    }
    if let Some(value) = short(&of.reply_to) {
        properties = properties.with_reply_to(value);
    }
    if let Some(value) = short(&of.message_id) {
        properties = properties.with_message_id(value);
    }
    if let Some(value) = short(&of.type_) {
        properties = properties.with_type(value);
    }
    if let Some(value) = short(&of.app_id) {
        properties = properties.with_app_id(value);
    }
    if let Some(seconds) = of.timestamp.as_deref().and_then(|text| text.parse().ok()) {
        properties = properties.with_timestamp(seconds);
    }
    properties
}

fn value_of(value: &Value, depth: usize) -> AMQPValue {
    match value {
        Value::Bool(value) => AMQPValue::Boolean(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => AMQPValue::LongLongInt(whole),
            (None, Some(real)) => AMQPValue::Double(real),
            (None, None) => AMQPValue::Void,
        },
        Value::String(text) => AMQPValue::LongString(LongString::from(text.as_str())),
        Value::Array(_) | Value::Object(_) if depth >= HEADER_DEPTH_MAX => AMQPValue::Void,
        Value::Array(values) => {
            let mut list = FieldArray::default();
            values.iter().for_each(|value| list.push(value_of(value, depth + 1)));
            AMQPValue::FieldArray(list)
        }
        Value::Object(fields) => match bytes_of(value) {
            Some(bytes) => AMQPValue::LongString(bytes.into()),
            None => {
                let mut table = FieldTable::default();
                for (name, value) in fields {
                    if let Ok(name) = ShortString::try_new(name.as_str()) {
                        table.insert(name, value_of(value, depth + 1));
                    }
                }
                AMQPValue::FieldTable(table)
            }
        },
        Value::Null => AMQPValue::Void,
    }
}

/// Of `{"bytes": [...]}`, as long texts are kept.
pub(super) fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    let bytes = value
        .as_object()
        .filter(|fields| fields.len() == 1)?
        .get("bytes")?
        .as_array()?;
    bytes
        .iter()
        .map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()))
        .collect()
}
