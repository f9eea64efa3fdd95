//! What a message for RabbitMQ is beside its body, as it is written for the broker.

use aws_lambda_events::rabbitmq::RabbitMqBasicProperties;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};
use serde_json::Value;

/// Tables and lists inside of each other that are written.
const HEADER_DEPTH_MAX: usize = 8;
/// What a frame has beside headers, in bytes: nine other texts at most.
const BESIDE_HEADERS_BYTES: usize = 4 << 10;
/// What our own headers begin with.
const OURS: &str = "mayfly-";
/// Says that only our own are there.
const LEFT_OUT: &str = "mayfly-headers-left-out";

/// As they came, persistent. All headers must have room in one frame, or the broker closes the connection.
pub(super) fn properties(of: &RabbitMqBasicProperties, frame_bytes: usize) -> BasicProperties {
    let mut properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_priority(of.priority)
        .with_headers(headers(of, frame_bytes.saturating_sub(BESIDE_HEADERS_BYTES)));
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

fn headers(of: &RabbitMqBasicProperties, bytes_max: usize) -> FieldTable {
    let table = |wanted: &dyn Fn(&str) -> bool| {
        let mut table = FieldTable::default();
        for (name, value) in of.headers.iter().filter(|(name, _)| wanted(name)) {
            if let Ok(name) = ShortString::try_new(name.as_str()) {
                table.insert(name, value_of(value, 0));
            }
        }
        table
    };
    let all = table(&|_| true);
    if size_of_table(&all) <= bytes_max {
        return all;
    }
    let mut ours = table(&|name| name.starts_with(OURS));
    ours.insert(LEFT_OUT.into(), AMQPValue::Boolean(true));
    ours
}

/// As it is written, in bytes; no less than that.
fn size_of_table(table: &FieldTable) -> usize {
    let fields = table.inner().iter();
    let fields = fields.map(|(name, value)| 1 + name.as_str().len() + size_of(value));
    4 + fields.sum::<usize>()
}

fn size_of(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.as_slice().len(),
        AMQPValue::FieldArray(values) => 4 + values.as_slice().iter().map(size_of).sum::<usize>(),
        AMQPValue::FieldTable(table) => size_of_table(table),
        _ => 8,
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn headers_that_have_no_room_are_left_out_and_it_is_said() {
        let mut of = RabbitMqBasicProperties::default();
        of.headers.insert("mayfly-depth".to_owned(), json!(1));
        of.headers.insert("small".to_owned(), json!([1, {"bytes": [97]}, null]));
        let names = |of: &RabbitMqBasicProperties| {
            let table = headers(of, 96 << 10);
            table
                .inner()
                .keys()
                .map(|name| name.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&of), ["mayfly-depth", "small"]);
        of.headers.insert("large".to_owned(), json!(vec![1; 11_000]));
        assert_eq!(names(&of), ["mayfly-depth", LEFT_OUT]);
    }
}
