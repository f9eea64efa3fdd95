//! The same questions, answered without the product's tables and readers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{Method, Request};

use crate::outbound::PrivateNetwork;

/// The host in one spelling, and the port; by the rules of RFC 3986 on the text, and nothing for what has two meanings.
pub(super) fn destination_of(request: &Request<()>) -> Option<(String, u16)> {
    let default_port = match request.uri().scheme_str()? {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = request.uri().authority()?.as_str();
    if *request.method() == Method::CONNECT || authority.contains(['@', '%']) {
        return None;
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port {
        None => default_port,
        Some(digits) if digits.starts_with('+') => return None,
        Some(digits) => digits.parse().ok().filter(|port| *port > 0)?,
    };
    let host = host.to_ascii_lowercase();
    if let Some(inner) = host.strip_prefix('[') {
        let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        let host = match address.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => format!("[{address}]"),
        };
        return Some((host, port));
    }
    let host = host.strip_suffix('.').unwrap_or(&host);
    let last = host.rsplit('.').next()?;
    let looks_like_an_address = last.starts_with(|first: char| first.is_ascii_digit())
        && (last.bytes().all(|byte| byte.is_ascii_digit())
            || last
                .strip_prefix("0x")
                .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit())));
    if looks_like_an_address {
        return Some((host.parse::<Ipv4Addr>().ok()?.to_string(), port));
    }
    let is_label = |label: &str| {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        !label.is_empty()
            && label.len() < 64
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (host.len() < 254 && host.split('.').all(is_label)).then(|| (host.to_owned(), port))
}

/// What an entry of an allow list, in its own spelling, says about a host.
pub(super) fn lets_through(entry: &str, host: &str, port: u16) -> bool {
    let (pattern, ports) = match entry.rsplit_once(':') {
        Some((pattern, number)) if !number.contains(']') => (pattern, vec![number.parse().expect("a port")]),
        _ => (entry, vec![80, 443]),
    };
    let is_name = !host.starts_with('[') && host.parse::<Ipv4Addr>().is_err();
    let matches = match pattern.strip_prefix('*') {
        None => pattern == host,
        Some("") => true,
        Some(domain) => is_name && host.len() > domain.len() && host.ends_with(domain),
    };
    matches && ports.contains(&port)
}

/// A second opinion on IPv4, written without the tables.
pub(crate) fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || a >= 224
        || (a == 100 && b & 0xc0 == 64)
        || (a == 198 && b & 0xfe == 18)
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a, b, c, d) == (168, 63, 129, 16);
    !special
}

pub(super) fn is_public(address: IpAddr) -> bool {
    let v6 = match inside(address) {
        IpAddr::V4(v4) => return is_public_v4(v4),
        IpAddr::V6(v6) => v6,
    };
    let [a, b, c, d, ..] = v6.octets();
    let special = v6.is_loopback()
        || v6.is_unspecified()
        || v6.is_multicast()
        || v6.is_unique_local()
        || v6.is_unicast_link_local()
        || a >> 5 != 1
        || (a, b, c >> 1) == (0x20, 0x01, 0)
        || (a, b, c, d) == (0x20, 0x01, 0x0d, 0xb8)
        || (a, b, c >> 4) == (0x3f, 0xff, 0);
    !special
}

/// The address that is reached through mapped, compatible and translated addresses, NAT64 and 6to4, octet by octet.
fn inside(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let octets = v6.octets();
    let carries_at = |at: usize| {
        IpAddr::V4(Ipv4Addr::new(
            octets[at],
            octets[at + 1],
            octets[at + 2],
            octets[at + 3],
        ))
    };
    let (head, middle) = (&octets[..8], &octets[8..12]);
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    if octets[..2] == [0x20, 0x02] {
        return carries_at(2);
    }
    let is_nat64 = head == [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0] && middle == [0; 4];
    let is_translated = head == [0; 8] && middle == [0xff, 0xff, 0, 0];
    let is_compatible = head == [0; 8] && middle == [0; 4] && !v6.is_loopback() && !v6.is_unspecified();
    if is_nat64 || is_translated || is_compatible {
        return carries_at(12);
    }
    address
}

/// Whether the operator has opened a private address, by arithmetic on what the operator wrote.
pub(super) fn is_opened(address: IpAddr, networks: &[PrivateNetwork]) -> bool {
    let address = inside(address);
    let never = match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    };
    let metadata = "100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::254 fd20:ce::254 fd00:c1::a9fe:a9fe";
    // As long as this, or longer, must the prefix be that opens it.
    let prefix_min = match address {
        IpAddr::V4(v4) if v4.is_link_local() => 16,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => 10,
        _ if metadata.split(' ').any(|known| known.parse() == Ok(address)) => 32,
        _ => 0,
    };
    let prefix_min = if address.is_ipv6() && prefix_min == 32 {
        128
    } else {
        prefix_min
    };
    let opens = |network: &PrivateNetwork| {
        let text = network.to_string();
        let (start, length) = text.split_once('/').expect("a network");
        let (start, length): (IpAddr, u32) = (start.parse().expect("it"), length.parse().expect("it"));
        let same = match (start, address) {
            (IpAddr::V4(start), IpAddr::V4(address)) => (start.to_bits() ^ address.to_bits()).leading_zeros(),
            (IpAddr::V6(start), IpAddr::V6(address)) => (start.to_bits() ^ address.to_bits()).leading_zeros(),
            _ => return false,
        };
        same >= length && length >= prefix_min
    };
    !never && networks.iter().any(opens)
}
