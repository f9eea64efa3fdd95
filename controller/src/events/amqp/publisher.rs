//! Messages for RabbitMQ: each is confirmed by the broker before its event has succeeded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lambda_events::rabbitmq::RabbitMqBasicProperties;
use bytes::Bytes;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Connection};
use mayfly_delivery::Fault;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::connect::{Connector, Trouble};
use super::properties::properties;
use crate::code::Code;
use crate::events::judgement::Went;
use crate::problem::Problem;
use crate::sealing::Sealed;
use crate::store::StoredResult;

/// From the first byte to the broker until its confirmation.
const PUBLISH_TIME_MAX: Duration = Duration::from_secs(10);
/// Brokers that are published to at once; the connection to each costs a thread.
const BROKERS_MAX: usize = 32;
/// Messages that are on their way to one broker at once.
const CHANNELS_MAX: usize = 8;
/// A connection that nobody has used for so long is closed by whoever publishes next.
const IDLE_TIME_MAX: Duration = Duration::from_mins(5);

/// Where a message goes, and what it is beside its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Publication {
    /// The broker, as it is shown.
    pub(crate) broker: String,
    /// Its URL as it was sealed when the message was made; whoever it was taken from may have another password by now.
    pub(crate) url: Sealed,
    pub(crate) owner: UrlOwner,
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) properties: Box<RabbitMqBasicProperties>,
}

/// Whose URL it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UrlOwner {
    /// The function's, for what it has handled.
    OnSuccess,
    /// The same for what was given up.
    OnFailure,
    /// The trigger's of that name.
    Trigger(String),
}

/// Publishes, over connections that it keeps. A clone is cheap and means the same ones.
#[derive(Clone)]
pub(crate) struct Publisher {
    connector: Connector,
    brokers: Arc<Mutex<HashMap<String, Arc<Broker>>>>,
}

/// A connection, and the channels of it that confirm. A channel has one message on its way at a time: which message of several
/// was returned cannot be told.
struct Broker {
    connector: Connector,
    url: String,
    connection: tokio::sync::Mutex<Option<Connection>>,
    idle: Mutex<Vec<Channel>>,
    places: Semaphore,
    last_used: Mutex<Instant>,
}

impl Publisher {
    pub(crate) fn new(connector: Connector) -> Self {
        Self {
            connector,
            brokers: Arc::default(),
        }
    }

    /// Publishes `body` at the broker with that URL; well only when the broker has confirmed it and has put it into a queue.
    pub(crate) async fn publish(&self, url: &str, publication: &Publication, body: &Bytes) -> Went {
        let sent = match self.broker(url) {
            Ok(broker) => match timeout(PUBLISH_TIME_MAX, broker.publish(publication, body)).await {
                Ok(sent) => sent,
                Err(_) => {
                    broker.does_not_answer().await;
                    let seconds = PUBLISH_TIME_MAX.as_secs();
                    Err(Trouble::new(&format!(
                        "the broker has not confirmed the message within {seconds} s"
                    )))
                }
            },
            Err(trouble) => Err(trouble),
        };
        match sent {
            Ok(()) => Went::Well(StoredResult::empty()),
            Err(Trouble(reason)) => Went::Badly(Fault::Function, Problem::new(Code::PublishFailed, reason)),
        }
    }

    fn broker(&self, url: &str) -> Result<Arc<Broker>, Trouble> {
        let mut brokers = lock(&self.brokers);
        brokers.retain(|_, broker| Arc::strong_count(broker) > 1 || lock(&broker.last_used).elapsed() < IDLE_TIME_MAX);
        if let Some(broker) = brokers.get(url) {
            *lock(&broker.last_used) = Instant::now();
            return Ok(Arc::clone(broker));
        }
        if brokers.len() >= BROKERS_MAX {
            let unused = brokers.iter().filter(|(_, broker)| Arc::strong_count(broker) == 1);
            let longest = unused.min_by_key(|(_, broker)| *lock(&broker.last_used));
            let longest = longest.map(|(url, _)| url.clone()).ok_or_else(|| {
                Trouble::new("this server publishes to as many brokers at once as it may; it is tried again")
            })?;
            brokers.remove(&longest);
        }
        let broker = Arc::new(Broker {
            connector: self.connector.clone(),
            url: url.to_owned(),
            connection: tokio::sync::Mutex::default(),
            idle: Mutex::default(),
            places: Semaphore::new(CHANNELS_MAX),
            last_used: Mutex::new(Instant::now()),
        });
        brokers.insert(url.to_owned(), Arc::clone(&broker));
        Ok(broker)
    }
}

impl Broker {
    async fn publish(&self, publication: &Publication, body: &[u8]) -> Result<(), Trouble> {
        let _place = self.places.acquire().await;
        let channel = self.channel().await?;
        let options = BasicPublishOptions {
            // Else a message that no queue takes would be confirmed, and gone.
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let confirming = channel
            .basic_publish(
                publication.exchange.as_str().into(),
                publication.routing_key.as_str().into(),
                options,
                body,
                properties(&publication.properties),
            )
            .await?;
        let confirmation = confirming.await?;
        // Only a channel with nothing on its way is used again.
        lock(&self.idle).push(channel);
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => Err(Trouble::new(&format!(
                "the broker has returned the message: {}",
                returned.reply_text
            ))),
            Confirmation::Nack(None) => Err(Trouble::new("the broker has refused the message")),
            Confirmation::NotRequested => Err(Trouble::new("the channel does not confirm")),
        }
    }

    async fn channel(&self) -> Result<Channel, Trouble> {
        let mut connection = self.connection.lock().await;
        let open = match connection.take().filter(|open| open.status().connected()) {
            Some(open) => open,
            None => {
                lock(&self.idle).clear();
                self.connector.connect(&self.url, "mayfly publisher".to_owned()).await?
            }
        };
        let open = connection.insert(open);
        // What it is given meanwhile would be kept in memory.
        if open.status().blocked() {
            return Err(Trouble::new(
                "the broker takes no messages at the moment: it is short of memory or disk",
            ));
        }
        while let Some(channel) = self.idle_channel() {
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let channel = open.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    fn idle_channel(&self) -> Option<Channel> {
        lock(&self.idle).pop()
    }

    /// The next one begins anew, unless the broker has said why it does not answer.
    async fn does_not_answer(&self) {
        // Whoever has the lock is about to connect.
        if let Ok(mut connection) = self.connection.try_lock()
            && connection.as_ref().is_some_and(|open| !open.status().blocked())
        {
            *connection = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
