//! A message of a RabbitMQ broker: what is kept of it, and the event that stands for several of them.

use std::collections::BTreeMap;

use aws_lambda_events::rabbitmq::RabbitMqBasicProperties;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::properties::bytes_of;
use crate::config::EVENT_DEPTH_MAX;
use crate::store::ClaimedEvent;

/// Tables and lists inside of each other that are kept of a message's headers.
const HEADER_DEPTH_MAX: usize = 8;

/// How many events led to a message, in its headers, so that a circle through a broker comes to an end.
pub(crate) const DEPTH_HEADER: &str = "mayfly-depth";

/// What a message is beside its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AmqpShape {
    /// The queue and its virtual host, as AWS writes them: `orders::/`.
    pub(crate) from: String,
    pub(crate) properties: Box<RabbitMqBasicProperties>,
    /// The broker had delivered it before.
    pub(crate) redelivered: bool,
}

impl AmqpShape {
    pub(super) fn of(delivery: &Delivery, from: &str) -> Self {
        Self {
            from: from.to_owned(),
            properties: Box::new(properties(&delivery.properties, delivery.data.len())),
            redelivered: delivery.redelivered,
        }
    }

    /// How many events led to it, as far as its sender says.
    pub(super) fn depth(&self) -> u32 {
        let said = self.properties.headers.get(DEPTH_HEADER).and_then(Value::as_u64);
        // More than that makes no difference.
        let depth = said.unwrap_or(0).min(u64::from(EVENT_DEPTH_MAX) + 1);
        u32::try_from(depth).unwrap_or(u32::MAX)
    }

    /// What filters and order keys find: the headers that are text, a number or a truth value.
    pub(super) fn attributes(&self) -> BTreeMap<String, String> {
        let headers = self.properties.headers.iter();
        let found = headers.filter_map(|(name, value)| Some((name.clone(), text_of(value)?)));
        let mut attributes: BTreeMap<String, String> = found.collect();
        // Beside the headers, what most producers say with a property.
        for (name, value) in [
            ("type", &self.properties.type_),
            ("content-type", &self.properties.content_type),
            ("message-id", &self.properties.message_id),
            ("correlation-id", &self.properties.correlation_id),
        ] {
            if let Some(value) = value {
                attributes.entry(name.to_owned()).or_insert_with(|| value.clone());
            }
        }
        attributes
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        // Long texts come as bytes.
        Value::Object(_) => String::from_utf8(bytes_of(value)?).ok(),
        Value::Null | Value::Array(_) => None,
    }
}

fn properties(of: &BasicProperties, body_bytes: usize) -> RabbitMqBasicProperties {
    let text = |value: &Option<ShortString>| value.as_ref().map(|value| value.as_str().to_owned());
    let mut properties = RabbitMqBasicProperties::default();
    properties.content_type = text(of.content_type());
    properties.content_encoding = text(of.content_encoding());
    properties.headers = of
        .headers()
        .as_ref()
        .map(|table| table_of(table, 0))
        .unwrap_or_default()
        .into_iter()
        .collect();
    properties.delivery_mode = of.delivery_mode().unwrap_or(1);
    properties.priority = of.priority().unwrap_or(0);
    properties.correlation_id = text(of.correlation_id());
    properties.reply_to = text(of.reply_to());
    properties.expiration = text(of.expiration());
    properties.message_id = text(of.message_id());
    properties.timestamp = of.timestamp().map(|seconds| seconds.to_string());
    properties.type_ = text(of.kind());
    properties.user_id = text(of.user_id());
    properties.app_id = text(of.app_id());
    properties.cluster_id = text(of.cluster_id());
    properties.body_size = body_bytes as u64;
    properties
}

fn table_of(table: &FieldTable, depth: usize) -> Map<String, Value> {
    let fields = table.inner().iter();
    fields
        .map(|(name, value)| (name.as_str().to_owned(), value_of(value, depth)))
        .collect()
}

/// As AWS writes it: a long text as `{"bytes": [...]}`, because nobody says that it is text.
fn value_of(value: &AMQPValue, depth: usize) -> Value {
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::Timestamp(value) => json!(value),
        AMQPValue::Float(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::DecimalValue(value) => json!({ "scale": value.scale, "value": value.value }),
        AMQPValue::ShortString(value) => json!(value.as_str()),
        AMQPValue::LongString(value) => json!({ "bytes": value.as_bytes() }),
        AMQPValue::ByteArray(value) => json!({ "bytes": value.as_slice() }),
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) if depth >= HEADER_DEPTH_MAX => Value::Null,
        AMQPValue::FieldArray(values) => values
            .as_slice()
            .iter()
            .map(|value| value_of(value, depth + 1))
            .collect(),
        AMQPValue::FieldTable(table) => table_of(table, depth + 1).into(),
        AMQPValue::Void => Value::Null,
    }
}

/// The event as AWS sends it for Amazon MQ. Each message has the id that `batchItemFailures` may name beside what AWS says.
pub(in crate::events) fn document<'a>(
    messages: impl Iterator<Item = (&'a ClaimedEvent, &'a AmqpShape, &'a Bytes)>,
) -> Result<Bytes, serde_json::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message<'a> {
        event_id: String,
        basic_properties: &'a RabbitMqBasicProperties,
        data: String,
        redelivered: bool,
    }
    let mut by_queue: BTreeMap<&str, Vec<Message<'_>>> = BTreeMap::new();
    let mut arn = None;
    for (event, shape, body) in messages {
        let trigger = event.trigger.as_deref().unwrap_or_default();
        arn.get_or_insert_with(|| format!("arn:mayfly:mq:local:{}:broker:{trigger}", event.namespace));
        by_queue.entry(&shape.from).or_default().push(Message {
            event_id: event.id.to_string(),
            basic_properties: &shape.properties,
            data: BASE64.encode(body),
            redelivered: shape.redelivered,
        });
    }
    let event = json!({
        "eventSource": "aws:rmq",
        "eventSourceArn": arn,
        "rmqMessagesByQueue": by_queue,
    });
    serde_json::to_vec(&event).map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::rabbitmq::RabbitMqEvent;
    use lapin::types::{FieldArray, LongString};

    use super::*;

    #[test]
    fn headers_of_any_kind_become_json() {
        let mut inner = FieldTable::default();
        inner.insert("deep".into(), AMQPValue::Boolean(true));
        let mut list = FieldArray::default();
        list.push(AMQPValue::LongInt(-7));
        list.push(AMQPValue::Void);
        let mut headers = FieldTable::default();
        headers.insert("text".into(), AMQPValue::LongString(LongString::from("\u{e9}")));
        headers.insert("bytes".into(), AMQPValue::LongString(vec![0xff, 0].into()));
        headers.insert("list".into(), AMQPValue::FieldArray(list));
        headers.insert("table".into(), AMQPValue::FieldTable(inner));
        headers.insert("number".into(), AMQPValue::Double(f64::NAN));
        let mut delivery = Delivery::mock(1, "".into(), "orders".into(), true, vec![0xff, 0xfe]);
        delivery.properties = BasicProperties::default()
            .with_headers(headers)
            .with_type("OrderPlaced".into())
            .with_timestamp(1_700_000_000);
        let shape = AmqpShape::of(&delivery, "orders::/");
        let headers = &shape.properties.headers;
        assert_eq!(headers["text"], json!({"bytes": [0xc3, 0xa9]}));
        assert_eq!(headers["list"], json!([-7, null]));
        assert_eq!(headers["table"], json!({"deep": true}));
        assert_eq!(headers["number"], json!(null), "JSON has no such number");
        let attributes = shape.attributes();
        assert_eq!(attributes.get("text").map(String::as_str), Some("\u{e9}"));
        assert_eq!(attributes.get("bytes"), None, "what is no text cannot be compared");
        assert_eq!(attributes["type"], "OrderPlaced");
        let kept: AmqpShape = serde_json::from_str(&serde_json::to_string(&shape).unwrap()).unwrap();
        assert_eq!(kept, shape);
    }

    #[test]
    fn tables_in_tables_end_somewhere() {
        let mut table = FieldTable::default();
        for _ in 0..100 {
            let mut outer = FieldTable::default();
            outer.insert("in".into(), AMQPValue::FieldTable(table));
            table = outer;
        }
        let text = Value::from(table_of(&table, 0)).to_string();
        assert_eq!(text.matches("in").count(), HEADER_DEPTH_MAX + 1);
    }

    #[test]
    fn an_event_without_messages_is_read_by_lambdas_type_too() {
        let empty = document(std::iter::empty()).unwrap();
        serde_json::from_slice::<RabbitMqEvent>(&empty).unwrap();
    }
}
