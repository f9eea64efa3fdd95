//! Messages for RabbitMQ: each is confirmed by the broker before its event has succeeded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
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

use super::connect::{Trouble, connect};
use super::properties::properties;
use crate::code::Code;
use crate::events::judgement::Went;
use crate::problem::Problem;
use crate::sealing::Sealed;
use crate::store::StoredResult;

/// From having a place until the confirmation.
const PUBLISH_TIME_MAX: Duration = Duration::from_secs(10);
/// Waiting for a place.
const PLACE_TIME_MAX: Duration = Duration::from_secs(10);
/// For so long a broker that could not be connected to is not asked again: whoever waits shares the answer.
const FAILED_TIME: Duration = Duration::from_secs(1);
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
#[derive(Clone, Default)]
pub(crate) struct Publisher {
    brokers: Arc<Mutex<HashMap<String, Arc<Broker>>>>,
}

/// A broker, and the channels to it that confirm. A channel has one message on its way at a time: which message of several was
/// returned cannot be told.
struct Broker {
    url: String,
    link: tokio::sync::Mutex<Link>,
    idle: Mutex<Vec<Open>>,
    places: Semaphore,
    last_used: Mutex<Instant>,
}

/// The connection that is used now.
#[derive(Default)]
struct Link {
    connection: Option<Connection>,
    /// Counts connections.
    generation: u64,
    failed: Option<(Instant, Trouble)>,
}

/// A channel, and of which connection it is.
struct Open {
    channel: Channel,
    generation: u64,
    frame_bytes: usize,
}

impl Publisher {
    /// Publishes `body` at the broker with that URL; well only when the broker has confirmed it and has put it into a queue.
    pub(crate) async fn publish(&self, url: &str, publication: &Publication, body: &Bytes) -> Went {
        let badly = |fault, Trouble(reason)| Went::Badly(fault, Problem::new(Code::PublishFailed, reason));
        let busy = || Trouble::new("as many messages as may be are on their way already; it is tried again");
        let Some(broker) = self.broker(url) else {
            return badly(Fault::Throttled, busy());
        };
        let Ok(Ok(_place)) = timeout(PLACE_TIME_MAX, broker.places.acquire()).await else {
            return badly(Fault::Throttled, busy());
        };
        let generation = AtomicU64::new(0);
        let publishing = broker.publish(publication, body, &generation);
        match timeout(PUBLISH_TIME_MAX, publishing).await {
            Ok(Ok(())) => Went::Well(StoredResult::empty()),
            Ok(Err(trouble)) => badly(Fault::Function, trouble),
            Err(_) => {
                broker.does_not_answer(generation.load(SeqCst));
                let seconds = PUBLISH_TIME_MAX.as_secs();
                let reason = format!("the broker has not confirmed the message within {seconds} s");
                badly(Fault::Function, Trouble::new(&reason))
            }
        }
    }

    /// `None` when there are too many others.
    fn broker(&self, url: &str) -> Option<Arc<Broker>> {
        let mut brokers = lock(&self.brokers);
        brokers.retain(|_, broker| Arc::strong_count(broker) > 1 || lock(&broker.last_used).elapsed() < IDLE_TIME_MAX);
        if let Some(broker) = brokers.get(url) {
            *lock(&broker.last_used) = Instant::now();
            return Some(Arc::clone(broker));
        }
        if brokers.len() >= BROKERS_MAX {
            let unused = brokers.iter().filter(|(_, broker)| Arc::strong_count(broker) == 1);
            let longest = unused.min_by_key(|(_, broker)| *lock(&broker.last_used));
            let longest = longest.map(|(url, _)| url.clone())?;
            brokers.remove(&longest);
        }
        let broker = Arc::new(Broker {
            url: url.to_owned(),
            link: tokio::sync::Mutex::default(),
            idle: Mutex::default(),
            places: Semaphore::new(CHANNELS_MAX),
            last_used: Mutex::new(Instant::now()),
        });
        brokers.insert(url.to_owned(), Arc::clone(&broker));
        Some(broker)
    }
}

impl Broker {
    /// Says in `generation` which connection is used, once one is.
    async fn publish(&self, publication: &Publication, body: &[u8], generation: &AtomicU64) -> Result<(), Trouble> {
        let open = self.channel().await?;
        generation.store(open.generation, SeqCst);
        match confirmed(&open, publication, body).await {
            Ok(confirmation) => {
                // Only a channel with nothing on its way is used again.
                lock(&self.idle).push(open);
                judged(confirmation)
            }
            Err(error) => {
                // The client does not use the number of a channel that was closed for an error again, and fails when it
                // would be its turn. Others may still have messages on their way on this connection: it ends with the last.
                let mut link = self.link.lock().await;
                if link.generation == open.generation {
                    link.connection = None;
                }
                Err(error.into())
            }
        }
    }

    async fn channel(&self) -> Result<Open, Trouble> {
        let mut link = self.link.lock().await;
        if !link.is_open() {
            link.connect(&self.url).await?;
        }
        let made = self.idle_or_new(&link).await;
        if made.is_err() && !link.is_blocked() {
            link.connection = None;
        }
        made
    }

    async fn idle_or_new(&self, link: &Link) -> Result<Open, Trouble> {
        let ended = || Trouble::new("the connection to the broker has ended");
        let connection = link.connection.as_ref().ok_or_else(ended)?;
        // What it is given meanwhile would be kept in memory.
        if link.is_blocked() {
            return Err(Trouble::new(
                "the broker takes no messages at the moment: it is short of memory or disk",
            ));
        }
        let idle = {
            let mut idle = lock(&self.idle);
            idle.retain(|open| open.generation == link.generation && open.channel.status().connected());
            idle.pop()
        };
        if let Some(open) = idle {
            return Ok(open);
        }
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Open {
            channel,
            generation: link.generation,
            frame_bytes: connection.configuration().frame_max() as usize,
        })
    }

    /// The next one begins anew, unless the broker has said why it does not answer.
    fn does_not_answer(&self, generation: u64) {
        // Whoever has the lock finds out for itself.
        if let Ok(mut link) = self.link.try_lock()
            && link.generation == generation
            && !link.is_blocked()
        {
            link.connection = None;
        }
    }
}

impl Link {
    fn is_open(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.status().connected())
    }

    fn is_blocked(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.status().blocked())
    }

    async fn connect(&mut self, url: &str) -> Result<(), Trouble> {
        if let Some((when, trouble)) = &self.failed
            && when.elapsed() < FAILED_TIME
        {
            return Err(trouble.clone());
        }
        self.connection = None;
        self.generation += 1;
        match connect(url, "mayfly publisher".to_owned()).await {
            Ok(connection) => {
                self.connection = Some(connection);
                self.failed = None;
                Ok(())
            }
            Err(trouble) => {
                self.failed = Some((Instant::now(), trouble.clone()));
                Err(trouble)
            }
        }
    }
}

async fn confirmed(open: &Open, publication: &Publication, body: &[u8]) -> Result<Confirmation, lapin::Error> {
    let options = BasicPublishOptions {
        // Else a message that no queue takes would be confirmed, and gone.
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let confirming = open
        .channel
        .basic_publish(
            publication.exchange.as_str().into(),
            publication.routing_key.as_str().into(),
            options,
            body,
            properties(&publication.properties, open.frame_bytes),
        )
        .await?;
    confirming.await
}

fn judged(confirmation: Confirmation) -> Result<(), Trouble> {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
