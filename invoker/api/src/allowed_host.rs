//! Which hosts a function may send requests to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::destination::split_port;
use crate::{Destination, Host, ParseError};

/// The ports of `http` and `https`, which an entry without a port means.
const STANDARD_PORTS: [u16; 2] = [80, 443];

/// One entry of a function's allow list: `HOST`, `HOST:PORT`, `*.DOMAIN`, `*.DOMAIN:PORT`, `*` or `*:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AllowedHost {
    hosts: Hosts,
    /// `None`: the standard ports.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Hosts {
    /// `*`
    Any,
    /// `*.example.com`: what ends in `.example.com`; not `example.com` itself.
    Below(String),
    /// `example.com`, `192.0.2.1`, `[2001:db8::1]`
    One(Host),
}

impl AllowedHost {
    /// Whether a request may go to `destination`, as far as its host and its port decide that.
    #[must_use]
    pub fn allows(&self, destination: &Destination) -> bool {
        let host = match (&self.hosts, &destination.host) {
            (Hosts::Any, _) => true,
            (Hosts::Below(domain), Host::Name(name)) => name
                .strip_suffix(domain.as_str())
                .is_some_and(|below| below.ends_with('.')),
            (Hosts::Below(_), Host::Ip(_)) => false,
            (Hosts::One(host), other) => host == other,
        };
        let port = match self.port {
            Some(port) => port == destination.port,
            None => STANDARD_PORTS.contains(&destination.port),
        };
        host && port
    }

    /// Whether it names a host or a domain; `*` does not.
    #[must_use]
    pub fn names_its_host(&self) -> bool {
        self.hosts != Hosts::Any
    }
}

impl FromStr for AllowedHost {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.contains("//") {
            return Err(ParseError::new(
                "an allowed host is written without a scheme and a path, as api.example.com or api.example.com:8080",
            ));
        }
        let (host, port) = split_port(text)?;
        let hosts = match host.strip_prefix('*') {
            None => Hosts::One(host.parse()?),
            Some("") => Hosts::Any,
            Some(rest) => match rest.strip_prefix('.').map(str::parse::<Host>) {
                Some(Ok(Host::Name(domain))) => Hosts::Below(domain),
                _ => {
                    return Err(ParseError::new(
                        "a star stands alone, or first and before the name of a domain, as *.example.com",
                    ));
                }
            },
        };
        Ok(Self { hosts, port })
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::Any => f.write_str("*")?,
            Hosts::Below(domain) => write!(f, "*.{domain}")?,
            Hosts::One(host) => write!(f, "{host}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for AllowedHost {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<AllowedHost> for String {
    fn from(allowed: AllowedHost) -> Self {
        allowed.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(entry: &str, destination: &str) -> bool {
        let destination = Destination::parse(destination, 443).unwrap();
        entry.parse::<AllowedHost>().unwrap().allows(&destination)
    }

    #[test]
    fn a_host_means_the_standard_ports_unless_it_has_one() {
        for (entry, destination, allowed) in [
            ("example.com", "example.com:80", true),
            ("example.com", "example.com:443", true),
            ("example.com", "EXAMPLE.com.:443", true),
            ("Example.Com.", "example.com", true),
            ("example.com", "example.com:8080", false),
            ("example.com:8080", "example.com:8080", true),
            ("example.com:8080", "example.com:80", false),
            ("example.com:8080", "example.com:443", false),
            ("example.com", "example.org", false),
            ("example.com", "www.example.com", false),
            ("example.com", "example.com.evil.example", false),
            ("example.com", "notexample.com", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "[::ffff:192.0.2.1]", true),
            ("[::ffff:192.0.2.1]", "192.0.2.1", true),
            ("[2001:db8::1]:81", "[2001:db8:0::1]:81", true),
            ("192.0.2.1", "192.0.2.11", false),
            ("localhost", "127.0.0.1", false),
        ] {
            assert_eq!(allows(entry, destination), allowed, "{entry} and {destination}");
        }
    }

    #[test]
    fn stars_stand_for_whole_labels() {
        for (entry, destination, allowed) in [
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "notexample.com", false),
            ("*.example.com", "a.example.com.evil.example", false),
            ("*.example.com:81", "a.example.com:81", true),
            ("*.example.com:81", "a.example.com", false),
            ("*", "anything.example", true),
            ("*", "192.0.2.1", true),
            ("*", "anything.example:81", false),
            ("*:81", "anything.example:81", true),
        ] {
            assert_eq!(allows(entry, destination), allowed, "{entry} and {destination}");
        }
        assert!("*.example.com".parse::<AllowedHost>().unwrap().names_its_host());
        assert!(!"*:81".parse::<AllowedHost>().unwrap().names_its_host());
    }

    #[test]
    fn entries_have_one_spelling_and_bad_ones_are_refused() {
        for (text, spelling) in [
            ("API.example.com.", "api.example.com"),
            ("*.Example.com:8080", "*.example.com:8080"),
            ("[::FFFF:192.0.2.1]:80", "192.0.2.1:80"),
            ("*", "*"),
        ] {
            let entry: AllowedHost = text.parse().unwrap();
            assert_eq!(entry.to_string(), spelling);
            assert_eq!(spelling.parse::<AllowedHost>().unwrap(), entry);
        }
        for text in [
            "",
            "https://example.com",
            "example.com/path",
            "*example.com",
            "a.*.example.com",
            "*.",
            "*.*",
            "**",
            "*:0",
            "*.192.0.2.1",
            "*.[::1]",
            "0x7f.1",
            "example.com:",
            "user@example.com",
            "bücher.example",
            "*:*",
        ] {
            assert!(text.parse::<AllowedHost>().is_err(), "{text}");
        }
    }
}
