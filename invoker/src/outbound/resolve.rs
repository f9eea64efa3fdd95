//! From a host to the addresses that a request may go to. A name is looked up once: what was checked is what is
//! connected to.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use mayfly_invoker_api::{Destination, Host};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::Error as HttpError;

use super::address::{PrivateNetwork, is_open};
use crate::config::{OUTBOUND_ADDRESSES_TRIED_MAX, OUTBOUND_LOOKUPS_MAX};

/// Turns a name into addresses.
#[async_trait]
pub(crate) trait Resolve: fmt::Debug + Send + Sync {
    /// All addresses of `name`, the best one first.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// As all programs of this machine do it: hosts file, search domains, DNS.
#[derive(Debug)]
pub(crate) struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl SystemResolver {
    pub(crate) fn new() -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(OUTBOUND_LOOKUPS_MAX)),
        }
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.lookups)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let name = name.to_owned();
        let looked_up = tokio::task::spawn_blocking(move || {
            // A lookup cannot be stopped. Its place is free when it has ended, not when nobody waits for it any more.
            let _permit = permit;
            let found = (name.as_str(), 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        });
        looked_up.await.map_err(io::Error::other)?
    }
}

/// The open addresses of `destination`, of which there is at least one.
pub(crate) async fn open_addresses(
    resolver: &dyn Resolve,
    destination: &Destination,
    networks: &[PrivateNetwork],
) -> Result<Vec<SocketAddr>, HttpError> {
    let found = match &destination.host {
        Host::Ip(address) => vec![*address],
        Host::Name(name) => resolver.addresses(name).await.map_err(|error| {
            tracing::debug!(%name, %error, "a name could not be looked up");
            not_found()
        })?,
    };
    if found.is_empty() {
        return Err(not_found());
    }
    let open: Vec<_> = found
        .into_iter()
        .filter(|address| is_open(*address, networks))
        .map(|address| SocketAddr::new(address, destination.port))
        .take(OUTBOUND_ADDRESSES_TRIED_MAX)
        .collect();
    if open.is_empty() {
        return Err(HttpError::DestinationIpProhibited);
    }
    Ok(open)
}

fn not_found() -> HttpError {
    HttpError::DnsError {
        rcode: None,
        info_code: None,
    }
}
