//! Where a request of a function goes to: a host and a port, read once and in one way only.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::ParseError;

/// Longest name of a host, in bytes, as in DNS.
const HOST_BYTES_MAX: usize = 253;
/// Longest part of a name between two dots, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// A host in its one spelling: an address, or a name in lower case without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address, written as such. An IPv4 address in the clothes of an IPv6 address is the IPv4 address.
    Ip(IpAddr),
    /// A name that has to be looked up.
    Name(String),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Who is spoken to.
    pub host: Host,
    /// From 1.
    pub port: u16,
}

impl Destination {
    /// Reads `HOST` or `HOST:PORT`; without a port it is `default_port`.
    ///
    /// # Errors
    /// For everything that programs could read in different ways: users, zones, odd spellings of addresses.
    pub fn parse(authority: &str, default_port: u16) -> Result<Self, ParseError> {
        let (host, port) = split_port(authority)?;
        Ok(Self {
            host: host.parse()?,
            port: port.unwrap_or(default_port),
        })
    }
}

/// `[::1]:80` -> `[::1]` and 80.
pub(crate) fn split_port(text: &str) -> Result<(&str, Option<u16>), ParseError> {
    let host_end = text.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = text[host_end..].find(':') else {
        return Ok((text, None));
    };
    let (host, port) = text.split_at(host_end + colon);
    let digits = &port[1..];
    let number = if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok().filter(|number| *number != 0)
    } else {
        None
    };
    match number {
        Some(number) => Ok((host, Some(number))),
        None => Err(ParseError::new(
            "a port must be a number between 1 and 65535, and an IPv6 address must stand in brackets, as [2001:db8::1]",
        )),
    }
}

impl FromStr for Host {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr = inner
                .parse()
                .map_err(|_| ParseError::new("there is no IPv6 address without a zone between the brackets"))?;
            return Ok(Self::Ip(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(address.into()));
        }
        check_name(&name)?;
        Ok(Self::Name(name))
    }
}

fn check_name(name: &str) -> Result<(), ParseError> {
    if name.is_empty() || name.len() > HOST_BYTES_MAX {
        return Err(ParseError::new("a host must have 1 to 253 characters"));
    }
    if !name.is_ascii() {
        return Err(ParseError::new(
            "a host must be written in ASCII; names in other scripts have a form that starts with xn--",
        ));
    }
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
    };
    if !name.split('.').all(is_label) {
        return Err(ParseError::new(
            "a host must be a name such as api.example.com, an IPv4 address, or an IPv6 address in brackets",
        ));
    }
    // Names do not end in a number. What does is read as an address by some: 0x7f.1, 0177.0.0.1, 2130706433.
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_number {
        return Err(ParseError::new(
            "an IPv4 address must be written as four decimal numbers, as 192.0.2.1",
        ));
    }
    Ok(())
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        Destination::parse(text, 80).ok().map(|it| it.to_string())
    }

    #[test]
    fn there_is_one_spelling_of_each_host() {
        for (text, spelling) in [
            ("api.example.com", "api.example.com:80"),
            ("API.Example.COM.:443", "api.example.com:443"),
            ("localhost.", "localhost:80"),
            ("my_service:8080", "my_service:8080"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example:80"),
            ("127.0.0.1", "127.0.0.1:80"),
            ("127.0.0.1.", "127.0.0.1:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("[2001:DB8:0:0::1]", "[2001:db8::1]:80"),
            ("[::ffff:127.0.0.1]", "127.0.0.1:80"),
            ("[::FFFF:7f00:1]:1", "127.0.0.1:1"),
            ("3com.example", "3com.example:80"),
            ("1.2.3.4.example", "1.2.3.4.example:80"),
        ] {
            assert_eq!(read(text).as_deref(), Some(spelling), "{text}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_read_at_all() {
        let long_label = "a".repeat(64);
        let long_name = vec!["abcd"; 51].join(".");
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "a\\b",
            "a#b",
            "a?b",
            "a%b",
            "a\0b",
            "a\nb",
            "-a",
            "a-",
            "user@example.com",
            "user:password@example.com",
            "example.com@evil.example:80",
            "0177.0.0.1",
            "0177.0.0.01",
            "2130706433",
            "017700000001",
            "0x7f000001",
            "0x7f.1",
            "127.1",
            "127.0.1",
            "127.0.0.0x1",
            "127.0.0.1..",
            "256.0.0.1",
            "1.2.3.4.5",
            "0X7F.1",
            "0x",
            "::1",
            "fe80::1",
            "[::1",
            "::1]",
            "[]",
            "[::1]x",
            "[::1]:",
            "[fe80::1%eth0]",
            "[fe80::1%25eth0]",
            "[127.0.0.1]",
            "[::1]]",
            "[[::1]]",
            "a]:80",
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "example.com:+80",
            "example.com: 80",
            "example.com:80:80",
            "example.com:http",
            "bücher.example",
            "１２７.0.0.1",
            "127。0.0.1",
            "*",
            "*.example.com",
            &long_label,
            &long_name,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
