//! How a function is to be run: what the flags of a deployment say about it.

use mayfly_invoker_api::{AllowedHost, Isolation, SnapshotMode};

use crate::api::{Config, ConfigRequest, RetryRequest};
use crate::error::CliError;
use crate::quantity::{parse_memory_mib, parse_seconds, parse_timeout_ms};

#[derive(Debug, clap::Args)]
pub(super) struct Settings {
    /// Memory of an instance, such as 128MiB or 256 (MiB)
    #[arg(long, value_name = "SIZE", value_parser = parse_memory_mib)]
    memory: Option<u32>,

    /// Longest time of one invocation, such as 500ms, 30s or 2m
    #[arg(long, value_name = "TIME", value_parser = parse_timeout_ms)]
    timeout: Option<u64>,

    /// Which calls may share an instance: auto, function, invocation, or key:HEADER
    #[arg(long, value_name = "MODE")]
    isolation: Option<Isolation>,

    /// Calls that one instance serves before it is replaced
    #[arg(long, value_name = "N")]
    max_requests_per_instance: Option<u32>,

    /// Instances that are kept warm although nobody calls
    #[arg(long, value_name = "N")]
    min_warm: Option<u32>,

    /// Instances that may be alive at once; more calls wait for one of them
    #[arg(long, value_name = "N")]
    max_instances: Option<u32>,

    /// Whether its `wizer-initialize` export is run once, at deploy: auto (if that works), on, or off
    #[arg(long, value_name = "MODE")]
    snapshot: Option<SnapshotMode>,

    #[command(flatten)]
    events: EventSettings,

    /// Environment variable of the function; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_env)]
    env: Vec<(String, String)>,

    /// Take away an environment variable that an earlier version had; may be repeated
    #[arg(long, value_name = "KEY")]
    unset_env: Vec<String>,

    /// Host that the function may send requests to, as api.example.com (ports 80 and 443), HOST:PORT, *.example.com, or *
    /// for any public host; may be repeated
    #[arg(long, value_name = "HOST[:PORT]")]
    allow_host: Vec<AllowedHost>,

    /// Take away the hosts that an earlier version was allowed; those of --allow-host take their place
    #[arg(long)]
    no_allow_hosts: bool,
}

/// What happens to events that the function handles, or cannot handle.
#[derive(Debug, Default, clap::Args)]
struct EventSettings {
    /// Attempts of an event that the function may fail before it becomes a dead letter
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,

    /// The pause after the first failure of an event, such as 60s; doubles after each further one
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    retry_backoff: Option<u32>,

    /// The longest of these pauses, such as 1h
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    retry_max_backoff: Option<u32>,

    /// The age at which an event is given up, such as 6h
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    max_event_age: Option<u32>,

    /// What is told when an event was handled, as function:NAME, queue:NAME, https://HOST/PATH, or
    /// amqp://USER:PASSWORD@HOST/VHOST?exchange=NAME&routing_key=KEY; `none` takes it away
    #[arg(long, value_name = "DESTINATION", env = "MAYFLY_ON_SUCCESS", hide_env_values = true)]
    on_success: Option<String>,

    /// What is told when an event was given up, in the same ways
    #[arg(long, value_name = "DESTINATION", env = "MAYFLY_ON_FAILURE", hide_env_values = true)]
    on_failure: Option<String>,
}

impl EventSettings {
    fn retry(&self) -> RetryRequest {
        RetryRequest {
            max_attempts: self.max_attempts,
            backoff_seconds: self.retry_backoff,
            max_backoff_seconds: self.retry_max_backoff,
            max_age_seconds: self.max_event_age,
        }
    }
}

/// What is asked for, over what was there before.
fn destination(asked: Option<&String>, earlier: Option<&String>) -> Option<String> {
    asked.or(earlier).filter(|destination| *destination != "none").cloned()
}

impl Settings {
    /// What the flags say, over what the latest version has.
    pub(super) fn over(&self, latest: Option<&Config>) -> Result<ConfigRequest, CliError> {
        if let Some(key) = self
            .unset_env
            .iter()
            .find(|key| self.env.iter().any(|(given, _)| given == *key))
        {
            return Err(CliError::usage(format!("--env and --unset-env both name {key}")));
        }
        let mut env = latest.map(|config| config.env.clone()).unwrap_or_default();
        env.retain(|key, _| !self.unset_env.contains(key));
        env.extend(self.env.iter().cloned());
        let earlier = latest.filter(|_| !self.no_allow_hosts);
        let mut allow_hosts = earlier.map(|config| config.allow_hosts.clone()).unwrap_or_default();
        allow_hosts.extend(self.allow_host.iter().map(ToString::to_string));
        Ok(ConfigRequest {
            memory_mib: self.memory.or(latest.map(|config| config.memory_mib)),
            timeout_ms: self.timeout.or(latest.map(|config| config.timeout_ms)),
            isolation: self
                .isolation
                .as_ref()
                .map(ToString::to_string)
                .or(latest.map(|config| config.isolation.clone())),
            max_requests_per_instance: self
                .max_requests_per_instance
                .or(latest.map(|config| config.max_requests_per_instance)),
            min_warm: self.min_warm.or(latest.map(|config| config.min_warm)),
            max_instances: self.max_instances.or(latest.map(|config| config.max_instances)),
            snapshot: self
                .snapshot
                .map(|mode| mode.as_str().to_owned())
                .or(latest.map(|config| config.snapshot.clone())),
            retry: self.events.retry().over(latest.and_then(|config| config.retry)),
            on_success: destination(
                self.events.on_success.as_ref(),
                latest.and_then(|config| config.on_success.as_ref()),
            ),
            on_failure: destination(
                self.events.on_failure.as_ref(),
                latest.and_then(|config| config.on_failure.as_ref()),
            ),
            env,
            allow_hosts,
        })
    }
}

fn parse_env(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::api::Retry;

    const RETRY: Retry = Retry {
        max_attempts: 3,
        backoff_seconds: 60,
        max_backoff_seconds: 3_600,
        max_age_seconds: 21_600,
    };

    fn settings() -> Settings {
        Settings {
            memory: None,
            timeout: None,
            isolation: None,
            max_requests_per_instance: None,
            min_warm: None,
            max_instances: None,
            snapshot: None,
            events: EventSettings::default(),
            env: Vec::new(),
            unset_env: Vec::new(),
            allow_host: Vec::new(),
            no_allow_hosts: false,
        }
    }

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_first_deployment_leaves_the_rest_to_the_server() {
        let given = Settings {
            memory: Some(64),
            env: vec![("A".to_owned(), "1".to_owned())],
            ..settings()
        };
        let config = given.over(None).unwrap();
        assert_eq!(
            config,
            ConfigRequest {
                memory_mib: Some(64),
                timeout_ms: None,
                isolation: None,
                max_requests_per_instance: None,
                min_warm: None,
                max_instances: None,
                snapshot: None,
                retry: RetryRequest::default(),
                on_success: None,
                on_failure: None,
                env: env(&[("A", "1")]),
                allow_hosts: BTreeSet::new(),
            }
        );
    }

    #[test]
    fn a_redeployment_keeps_what_is_not_given() {
        let latest = Config {
            memory_mib: 64,
            timeout_ms: 1000,
            isolation: "invocation".to_owned(),
            max_requests_per_instance: 7,
            min_warm: 1,
            max_instances: 9,
            snapshot: "off".to_owned(),
            retry: Some(RETRY),
            on_success: Some("function:a".to_owned()),
            on_failure: Some("function:b".to_owned()),
            env: env(&[("A", "1"), ("B", "2"), ("C", "3")]),
            allow_hosts: ["a.example".to_owned()].into(),
        };
        let given = Settings {
            timeout: Some(5000),
            max_instances: Some(3),
            events: EventSettings {
                max_attempts: Some(7),
                on_failure: Some("none".to_owned()),
                ..EventSettings::default()
            },
            env: vec![("B".to_owned(), "two".to_owned())],
            unset_env: vec!["C".to_owned(), "D".to_owned()],
            ..settings()
        };
        let config = given.over(Some(&latest)).unwrap();
        let expected = env(&[("A", "1"), ("B", "two")]);
        assert_eq!(
            config,
            ConfigRequest {
                memory_mib: Some(64),
                timeout_ms: Some(5000),
                isolation: Some("invocation".to_owned()),
                max_requests_per_instance: Some(7),
                min_warm: Some(1),
                max_instances: Some(3),
                snapshot: Some("off".to_owned()),
                retry: RetryRequest {
                    max_attempts: Some(7),
                    backoff_seconds: Some(60),
                    max_backoff_seconds: Some(3_600),
                    max_age_seconds: Some(21_600),
                },
                on_success: Some("function:a".to_owned()),
                on_failure: None,
                env: expected,
                allow_hosts: ["a.example".to_owned()].into(),
            }
        );
    }

    #[test]
    fn a_variable_cannot_be_set_and_taken_away() {
        let given = Settings {
            env: vec![("A".to_owned(), "1".to_owned())],
            unset_env: vec!["A".to_owned()],
            ..settings()
        };
        assert_eq!(given.over(None).unwrap_err().kind().exit_code(), 2);
    }

    #[test]
    fn hosts_are_added_unless_the_earlier_ones_are_taken_away() {
        let latest = Config {
            memory_mib: 64,
            timeout_ms: 1000,
            isolation: "auto".to_owned(),
            max_requests_per_instance: 7,
            min_warm: 0,
            max_instances: 9,
            snapshot: "auto".to_owned(),
            retry: None,
            on_success: None,
            on_failure: None,
            env: BTreeMap::new(),
            allow_hosts: ["a.example".to_owned()].into(),
        };
        for (no_allow_hosts, given, expected) in [
            (false, vec![], vec!["a.example"]),
            (false, vec!["B.example."], vec!["a.example", "b.example"]),
            (true, vec![], vec![]),
            (true, vec!["b.example:81"], vec!["b.example:81"]),
        ] {
            let given = Settings {
                allow_host: given.into_iter().map(|host| host.parse().unwrap()).collect(),
                no_allow_hosts,
                ..settings()
            };
            let hosts = given.over(Some(&latest)).unwrap().allow_hosts;
            assert_eq!(hosts, expected.into_iter().map(str::to_owned).collect());
        }
    }

    #[test]
    fn variables_are_pairs() {
        assert_eq!(parse_env("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(parse_env("A="), Ok(("A".to_owned(), String::new())));
        assert!(parse_env("A").is_err() && parse_env("=b").is_err());
    }
}
