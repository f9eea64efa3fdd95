//! An attempt to publish a message for RabbitMQ, which an event is.

use bytes::Bytes;
use mayfly_delivery::Fault;

use crate::code::Code;
use crate::events::amqp::{Publication, UrlOwner};
use crate::events::attempt::Runner;
use crate::events::destination::Destination;
use crate::events::judgement::Went;
use crate::events::subscriptions::subscription_of;
use crate::ingress::Route;
use crate::problem::Problem;
use crate::sealing::Sealed;
use crate::store::{AmqpSource, ClaimedEvent, DestinationSecrets, MessageSource};

impl Runner {
    pub(super) async fn publish(
        &self,
        event: &ClaimedEvent,
        publication: &Publication,
        route: Option<&Route>,
        body: &Bytes,
    ) -> Went {
        let purpose = match &publication.owner {
            UrlOwner::OnSuccess | UrlOwner::OnFailure => DestinationSecrets::purpose(&event.namespace, &event.function),
            UrlOwner::Trigger(name) => AmqpSource::purpose(&event.namespace, name),
        };
        // What waits is not tied to a password that was changed meanwhile.
        let current = self.current_url(event, publication, route).await;
        match self.seal.open(&purpose, current.as_ref().unwrap_or(&publication.url)) {
            Ok(url) => self.publisher.publish(&url, publication, body).await,
            Err(error) => {
                let problem = Problem::new(Code::PublishFailed, error.to_string());
                Went::Badly(Fault::Permanent, problem)
            }
        }
    }

    /// What the owner of the URL has for the same user of the same broker now.
    async fn current_url(
        &self,
        event: &ClaimedEvent,
        publication: &Publication,
        route: Option<&Route>,
    ) -> Option<Sealed> {
        let is_same = |destination: &Option<Destination>| match destination {
            Some(Destination::Amqp(destination)) => destination.broker.to_string() == publication.broker,
            _ => false,
        };
        match &publication.owner {
            UrlOwner::OnSuccess => {
                let route = route.filter(|route| is_same(&route.on_success))?;
                route.secrets.on_success.clone()
            }
            UrlOwner::OnFailure => {
                let route = route.filter(|route| is_same(&route.on_failure))?;
                route.secrets.on_failure.clone()
            }
            UrlOwner::Trigger(name) => {
                let trigger = self.subscriptions.trigger(&event.namespace, name).await.ok()??;
                match &subscription_of(&trigger)?.source {
                    MessageSource::Amqp(source) if source.shown == publication.broker => Some(source.url.clone()),
                    MessageSource::Amqp(_) | MessageSource::Queue(_) => None,
                }
            }
        }
    }
}
