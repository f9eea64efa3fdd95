//! Passwords of brokers that outcomes go to. They come with a deployment and are never shown, so a later deployment that says
//! what was shown means the password that is kept.

use mayfly_invoker_api::{FunctionName, Namespace};

use crate::admin::Admin;
use crate::admin::triggers::create::not_sealed;
use crate::code::Code;
use crate::events::{AmqpDestination, Destination};
use crate::problem::Problem;
use crate::sealing::Sealed;
use crate::store::{DestinationSecrets, FunctionConfig};

/// What the destinations of `config` take to be reached. What is kept of the latest version stays as it is, so that the same
/// deployment again changes nothing.
pub(super) async fn of(
    admin: &Admin,
    namespace: &Namespace,
    name: &FunctionName,
    config: &FunctionConfig,
) -> Result<DestinationSecrets, Problem> {
    let (on_success, on_failure) = (amqp(&config.on_success), amqp(&config.on_failure));
    if on_success.is_none() && on_failure.is_none() {
        return Ok(DestinationSecrets::default());
    }
    let latest = admin.parts.store.function(namespace, name).await?;
    let latest = latest.map(|version| version.config).unwrap_or_default();
    let keeper = Keeper {
        admin,
        purpose: DestinationSecrets::purpose(namespace, name),
        kept: [
            (amqp(&latest.on_success), latest.secrets.on_success.as_ref()),
            (amqp(&latest.on_failure), latest.secrets.on_failure.as_ref()),
        ],
    };
    Ok(DestinationSecrets {
        on_success: on_success.map(|wanted| keeper.secret(wanted, [0, 1])).transpose()?,
        on_failure: on_failure.map(|wanted| keeper.secret(wanted, [1, 0])).transpose()?,
    })
}

fn amqp(destination: &Option<Destination>) -> Option<&AmqpDestination> {
    match destination {
        Some(Destination::Amqp(destination)) => Some(destination),
        _ => None,
    }
}

/// What the latest version has, beside what is wanted.
struct Keeper<'a> {
    admin: &'a Admin,
    purpose: String,
    kept: [(Option<&'a AmqpDestination>, Option<&'a Sealed>); 2],
}

impl Keeper<'_> {
    /// What is kept in the same place comes before what is kept in the other one.
    fn secret(&self, wanted: &AmqpDestination, places: [usize; 2]) -> Result<Sealed, Problem> {
        let seal = &self.admin.parts.seal;
        let shown = wanted.broker.to_string();
        let kept = places.into_iter().map(|place| self.kept[place]);
        let mut same_broker = kept.filter_map(|(destination, sealed)| {
            let broker = &destination.as_ref()?.broker;
            sealed.filter(|_| broker.to_string() == shown)
        });
        if wanted.broker.is_hidden() {
            let kept = same_broker.next().cloned();
            return kept.ok_or_else(|| {
                Problem::new(
                    Code::InvalidConfig,
                    format!("no password is kept for {shown}; write it in place of ***"),
                )
            });
        }
        let url = wanted.broker.reveal();
        let mut same = same_broker.filter(|kept| seal.open(&self.purpose, kept).is_ok_and(|kept| kept == url));
        if let Some(kept) = same.next() {
            return Ok(kept.clone());
        }
        seal.seal(&self.purpose, &url).map_err(not_sealed)
    }
}
