//! Which addresses a request may go to, decided from the address alone.
//!
//! Public addresses are open. Addresses of private and special use are closed; the operator can open networks of them.
//! An address that carries another one inside (IPv4 in IPv6, in one of its many forms) is judged as the one inside.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A network that is not public and that functions may nevertheless reach, because the operator says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrivateNetwork(IpNet);

/// Why text does not name a network; a sentence for the operator.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct NetworkError(&'static str);

impl FromStr for PrivateNetwork {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let network = match text.parse::<IpAddr>() {
            Ok(one) => IpNet::from(one),
            Err(_) => text
                .parse()
                .map_err(|_| NetworkError("write a network as ADDRESS/LENGTH, such as 10.0.0.0/8 or fd12:3456::/32"))?,
        };
        if network.trunc() != network {
            return Err(NetworkError(
                "the address has bits behind the network's length; write 10.0.0.0/8 instead of 10.1.2.3/8",
            ));
        }
        if network.addr().to_canonical() != network.addr() {
            return Err(NetworkError("write an IPv4 network as such, without ::ffff: before it"));
        }
        Ok(Self(network))
    }
}

impl fmt::Display for PrivateNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is known about an address without asking anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Public,
    /// Opened by any network that holds it.
    Private,
    /// Where clouds keep credentials and this machine's neighbours are: opened only by a network that lies inside of
    /// this one, so that opening a large network does not open it by the way.
    Guarded(IpNet),
    /// Nobody's address, or everybody's.
    Never,
}

/// Whether a request may go to `address`, where the operator has opened `networks`.
pub(crate) fn is_open(address: IpAddr, networks: &[PrivateNetwork]) -> bool {
    let address = reached_by(address);
    let opened_by = |network: &PrivateNetwork| network.0.contains(&address);
    match class(address) {
        Class::Public => true,
        Class::Private => networks.iter().any(opened_by),
        Class::Guarded(guard) => networks
            .iter()
            .any(|network| opened_by(network) && guard.contains(&network.0)),
        Class::Never => false,
    }
}

/// The IPv4 address that an IPv6 address stands for, if it stands for one.
fn reached_by(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if v6.is_unspecified() || v6.is_loopback() {
        return address;
    }
    let last = || IpAddr::V4(Ipv4Addr::from_bits(low_32(v6.to_bits())));
    match v6.segments() {
        // Compatible (deprecated), mapped, translated (RFC 2765), and through the well-known prefix of NAT64.
        [0, 0, 0, 0, 0, 0, _, _]
        | [0, 0, 0, 0, 0, 0xffff, _, _]
        | [0, 0, 0, 0, 0xffff, 0, _, _]
        | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => last(),
        // 6to4
        [0x2002, ..] => IpAddr::V4(Ipv4Addr::from_bits(low_32(v6.to_bits() >> 80))),
        _ => address,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half of the low half is what is wanted"
)]
fn low_32(bits: u128) -> u32 {
    bits as u32
}

fn class(address: IpAddr) -> Class {
    let within = |networks: &[IpNet]| networks.iter().copied().find(|network| network.contains(&address));
    if within(&NEVER).is_some() {
        Class::Never
    } else if let Some(guard) = within(&GUARDED) {
        Class::Guarded(guard)
    } else if within(&PRIVATE).is_some() || within(&[GLOBAL_V6, ALL_V4]).is_none() {
        Class::Private
    } else {
        Class::Public
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(segments: [u16; 8], length: u8) -> IpNet {
    let [a, b, c, d, e, f, g, h] = segments;
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length))
}

const ALL_V4: IpNet = v4(0, 0, 0, 0, 0);
/// What has been given out of IPv6; all the rest has a special use or none.
const GLOBAL_V6: IpNet = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const NEVER: [IpNet; 5] = [
    // "This network"; connecting to 0.0.0.0 reaches the machine itself.
    v4(0, 0, 0, 0, 8),
    // Multicast.
    v4(224, 0, 0, 0, 4),
    // Broadcast.
    v4(255, 255, 255, 255, 32),
    // Unspecified.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128),
    // Multicast.
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];

const GUARDED: [IpNet; 8] = [
    // Link-local, and in it the metadata of most clouds.
    v4(169, 254, 0, 0, 16),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    // Metadata: Alibaba, Azure, Oracle, then Amazon, Google and Oracle over IPv6.
    v4(100, 100, 100, 200, 32),
    v4(168, 63, 129, 16, 32),
    v4(192, 0, 0, 192, 32),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128),
];

/// From IANA's registries of special-purpose addresses. IPv6 outside of [`GLOBAL_V6`] is private without being named:
/// loopback, unique local, site-local, NAT64 of local use, discard, and what is not given out.
const PRIVATE: [IpNet; 15] = [
    v4(10, 0, 0, 0, 8),
    // Shared by the customers of a provider (CGNAT).
    v4(100, 64, 0, 0, 10),
    // Loopback.
    v4(127, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    // Protocols of the IETF.
    v4(192, 0, 0, 0, 24),
    // Documentation.
    v4(192, 0, 2, 0, 24),
    // Relays of 6to4 (deprecated).
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    // Benchmarks.
    v4(198, 18, 0, 0, 15),
    // Documentation.
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    // Reserved.
    v4(240, 0, 0, 0, 4),
    // Protocols of the IETF, with Teredo, benchmarks and ORCHID.
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    // Documentation.
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

#[cfg(test)]
mod tests;
