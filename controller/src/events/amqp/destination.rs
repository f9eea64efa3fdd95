//! RabbitMQ as where outcomes go: `amqp://USER:PASSWORD@HOST:5672/VHOST?exchange=NAME&routing_key=KEY`.

use std::fmt;
use std::str::FromStr;

use super::{BrokerUrl, check_name};
use crate::config::AMQP_URL_BYTES_MAX;
use crate::store::AmqpTarget;

/// An exchange of a broker. It is shown without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmqpDestination {
    pub(crate) broker: BrokerUrl,
    pub(crate) target: AmqpTarget,
}

impl FromStr for AmqpDestination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let broker = BrokerUrl::parse(text)?;
        let (mut exchange, mut routing_key) = (String::new(), String::new());
        let query = text.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            check_name(&value)?;
            match &*name {
                "exchange" => exchange = value.into_owned(),
                "routing_key" => routing_key = value.into_owned(),
                "frame_max" | "channel_max" | "heartbeat" | "connection_timeout" | "auth_mechanism" => {}
                _ => {
                    return Err(
                        "the URL of a broker has no such parameter; there are exchange and routing_key".to_owned(),
                    );
                }
            }
        }
        if exchange.is_empty() && routing_key.is_empty() {
            return Err(
                "say where the broker is to put it: ?exchange=NAME&routing_key=KEY, or ?routing_key=QUEUE".to_owned(),
            );
        }
        let destination = Self {
            broker,
            target: AmqpTarget { exchange, routing_key },
        };
        // It is kept as it is shown, and read again.
        if destination.to_string().len() > AMQP_URL_BYTES_MAX {
            return Err(format!(
                "a destination has at most {AMQP_URL_BYTES_MAX} bytes, with %XX for what means something in URLs"
            ));
        }
        Ok(destination)
    }
}

/// As it is shown, and read again when somebody sends back what was shown.
impl fmt::Display for AmqpDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("exchange", &self.target.exchange),
            ("routing_key", &self.target.routing_key),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        write!(f, "{}?{}", self.broker, query.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::AmqpDestination;

    #[test]
    fn a_broker_an_exchange_and_a_key() {
        for (text, exchange, key, shown) in [
            (
                "amqp://shop:secret@rabbit/%2f?exchange=out&routing_key=total.done",
                "out",
                "total.done",
                "amqp://shop:***@rabbit:5672/%2F?exchange=out&routing_key=total.done",
            ),
            (
                "amqps://shop:secret@rabbit/x?routing_key=a+b%26c&heartbeat=5",
                "",
                "a b&c",
                "amqps://shop:***@rabbit:5671/x?routing_key=a+b%26c",
            ),
            (
                "amqp://a:b@h?exchange=fan",
                "fan",
                "",
                "amqp://a:***@h:5672/%2F?exchange=fan",
            ),
        ] {
            let destination: AmqpDestination = text.parse().unwrap();
            assert_eq!(destination.target.exchange, exchange);
            assert_eq!(destination.target.routing_key, key);
            assert_eq!(destination.to_string(), shown);
            let again: AmqpDestination = shown.parse().unwrap();
            assert_eq!((again.to_string().as_str(), again.broker.is_hidden()), (shown, true));
        }
    }

    #[test]
    fn what_names_no_place_is_refused() {
        let long = format!("amqp://a:secret@h/?exchange={}", "e".repeat(256));
        let grows = format!("amqp://a:secret@h/?exchange={0}&routing_key={0}", "\u{44f}".repeat(120));
        for text in [
            "amqp://a:secret@h/",
            "amqp://a:secret@h/?exchange=&routing_key=",
            "amqp://a:secret@h/?exchange=a%00",
            "amqp://a:secret@h/?exchange=a&routingkey=b",
            "http://a:secret@h/?exchange=a",
            &long,
            &grows,
        ] {
            let reason = text.parse::<AmqpDestination>().unwrap_err();
            assert!(!reason.contains("secret"), "{reason}");
        }
    }
}
