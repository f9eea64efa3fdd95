//! Brokers and what is in them by name. The URL of one holds a password, so it can be written in two ways: to connect with,
//! and to be shown.

use std::fmt;

use lapin::uri::AMQPUri;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::config::{AMQP_NAME_BYTES_MAX, AMQP_URL_BYTES_MAX};

/// What stands in for a password that is not shown.
const HIDDEN: &str = "***";

/// What would end a name in a URL or mean something else there.
const RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b':')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The URL of a broker, with user and password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BrokerUrl(Box<AMQPUri>);

impl BrokerUrl {
    /// Of a text such as `amqp://USER:PASSWORD@HOST:5672/VHOST`. What is wrong is not said in the text's own words: they may
    /// hold the password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > AMQP_URL_BYTES_MAX {
            return Err(format!("the URL of a broker has at most {AMQP_URL_BYTES_MAX} bytes"));
        }
        let wrong = || {
            "the URL of a broker is written as amqp://USER:PASSWORD@HOST:5672/%2f, or amqps:// for TLS; in names and the \
             password, write %XX for what means something in URLs"
                .to_owned()
        };
        // The parser takes more: hosts that are not understood or left out are this machine, and a password with a slash in
        // it is a virtual host, which is shown.
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let address = address
            .strip_prefix("amqp://")
            .or_else(|| address.strip_prefix("amqps://"));
        let (authority, path) = address
            .map(|address| address.split_once('/').unwrap_or((address, "")))
            .ok_or_else(wrong)?;
        let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let host = host.split(':').next().unwrap_or_default();
        let is_plain = |char: char| char.is_ascii_alphanumeric() || "-._".contains(char);
        if host.is_empty()
            || !host.chars().all(is_plain)
            || path.contains('@')
            || query.contains('@')
            || text.contains('#')
        {
            return Err(wrong());
        }
        let url: AMQPUri = text.parse().map_err(|_| wrong())?;
        check_name(&url.vhost)?;
        check_name(&url.authority.userinfo.username)?;
        Ok(Self(Box::new(url)))
    }

    /// Whether it is one that was shown: its password is not known.
    pub(crate) fn is_hidden(&self) -> bool {
        self.0.authority.userinfo.password == HIDDEN
    }

    /// As it is connected with, and never shown.
    pub(crate) fn reveal(&self) -> String {
        self.0.to_string()
    }
}

/// As it is shown.
impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri {
            scheme,
            authority,
            vhost,
            ..
        } = &*self.0;
        write!(
            f,
            "{scheme}://{}:{HIDDEN}@{}:{}/{}",
            utf8_percent_encode(&authority.userinfo.username, RESERVED),
            authority.host,
            authority.port,
            utf8_percent_encode(vhost, RESERVED)
        )
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether `name` can be that of a queue or an exchange, or a routing key.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.len() <= AMQP_NAME_BYTES_MAX && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(format!(
        "names of RabbitMQ have up to {AMQP_NAME_BYTES_MAX} bytes and no control characters"
    ))
}

#[cfg(test)]
mod tests {
    use super::BrokerUrl;

    #[test]
    fn what_is_shown_says_all_but_the_password() {
        for (text, shown) in [
            ("amqp://shop:secret@rabbit:5672/%2f", "amqp://shop:***@rabbit:5672/%2F"),
            (
                "amqps://a-b_c:se%40cret@10.0.0.1/x",
                "amqps://a-b_c:***@10.0.0.1:5671/x",
            ),
            (
                "amqp://a%3ab:%2A@h:1/v%3f%25w?heartbeat=5",
                "amqp://a%3Ab:***@h:1/v%3F%25w",
            ),
            ("amqp://rabbit", "amqp://guest:***@rabbit:5672/%2F"),
            ("amqp://rabbit//", "amqp://guest:***@rabbit:5672/%2F"),
            ("amqp://a:b@h/%C3%A9", "amqp://a:***@h:5672/%C3%A9"),
        ] {
            let url = BrokerUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown, "{text}");
            assert_eq!(format!("{url:?}"), shown);
            assert!(!url.is_hidden());
            assert_eq!(BrokerUrl::parse(&url.reveal()).unwrap(), url, "{text}");
            let again = BrokerUrl::parse(shown).unwrap();
            assert!(again.is_hidden());
            assert_eq!(again.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_being_repeated() {
        let long = format!("amqp://a:secret@{}", "h".repeat(5_000));
        let vhost = format!("amqp://a:secret@h/{}", "v".repeat(256));
        for text in [
            "",
            "rabbit:secret",
            "http://a:secret@h",
            "amqp:secret",
            "amqp:/shop:secret@h/x",
            "amqp:///shop:secret@h/x",
            "amqp://shop:123/secret@h/x",
            "amqp://shop:12#secret@h/x",
            "amqp://shop:12?secret@h/x",
            "amqp://:secret@/x",
            "amqp://a:secret@h%20x/",
            "amqp://a:secret@h x/",
            "amqp://a:secret@\u{e9}/",
            "amqp://a:secret@[::1]:5672/",
            &vhost,
            "amqp://a:secret@h/?heartbeat=secret",
            "amqp://a:secret@h:70000/",
            &long,
        ] {
            let reason = BrokerUrl::parse(text).unwrap_err();
            assert!(!reason.contains("secret"), "{reason}");
        }
    }
}
