//! `fn deploy FILE`.

mod artifact;

use std::path::{Path, PathBuf};

use mayfly_invoker_api::FunctionName;

use self::artifact::LocalArtifact;
use crate::api::{Config, ConfigRequest, Deployed, FunctionDetail};
use crate::error::CliError;
use crate::output;
use crate::quantity::{bytes_text, parse_memory_mib, parse_timeout_ms};
use crate::session::Session;

/// Longest name that is made of a file's name, in characters; also the longest that a function can have.
const NAME_CHARACTERS_MAX: usize = 63;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// WebAssembly file: a component or a core module
    file: PathBuf,

    /// Name of the function; else made of the file's name
    #[arg(long)]
    name: Option<FunctionName>,

    /// Memory of an instance, such as 128MiB or 256 (MiB)
    #[arg(long, value_name = "SIZE", value_parser = parse_memory_mib)]
    memory: Option<u32>,

    /// Longest time of one invocation, such as 500ms, 30s or 2m
    #[arg(long, value_name = "TIME", value_parser = parse_timeout_ms)]
    timeout: Option<u64>,

    /// Environment variable of the function; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_env)]
    env: Vec<(String, String)>,

    /// Take away an environment variable that an earlier version had; may be repeated
    #[arg(long, value_name = "KEY")]
    unset_env: Vec<String>,
}

const AFTER_HELP: &str = "What is not given stays as the latest version has it; on a first deployment the server's \
defaults apply. The file is sent only when the server does not have it: a redeployment that changes nothing asks for the \
latest version, compares, and sends less than 1 KB.";

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    let artifact = LocalArtifact::read(&args.file)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of_file(&args.file)?,
    };
    let latest = find(session, &name).await?;
    let config = args.config_over(latest.as_ref().map(|function| &function.latest.config))?;
    let deployed = match latest {
        Some(function) if is_unchanged(session, &function, &artifact, &config).await? => unchanged(function),
        _ => deploy(session, &name, &artifact, &config).await?,
    };
    report(session, &deployed, artifact.size_bytes())
}

impl Args {
    /// What the flags say, over what the latest version has.
    fn config_over(&self, latest: Option<&Config>) -> Result<ConfigRequest, CliError> {
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
        Ok(ConfigRequest {
            memory_mib: self.memory.or(latest.map(|config| config.memory_mib)),
            timeout_ms: self.timeout.or(latest.map(|config| config.timeout_ms)),
            env,
        })
    }
}

async fn find(session: &Session, name: &FunctionName) -> Result<Option<FunctionDetail>, CliError> {
    match session.client.function(name).await {
        Ok(function) => Ok(Some(function)),
        Err(error) if error.code() == "function_not_found" => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the server has exactly this already. Also asks for the artifact, so that a deployment mends a lost one.
async fn is_unchanged(
    session: &Session,
    function: &FunctionDetail,
    artifact: &LocalArtifact,
    config: &ConfigRequest,
) -> Result<bool, CliError> {
    let latest = &function.latest;
    let same_config = config.memory_mib == Some(latest.config.memory_mib)
        && config.timeout_ms == Some(latest.config.timeout_ms)
        && config.env == latest.config.env;
    Ok(same_config && latest.digest == artifact.digest() && session.client.has_artifact(artifact.digest()).await?)
}

fn unchanged(function: FunctionDetail) -> Deployed {
    let latest = function.latest;
    Deployed {
        name: latest.name,
        namespace: latest.namespace,
        version: latest.version,
        kind: latest.kind,
        digest: latest.digest,
        url: latest.url,
        changed: false,
    }
}

async fn deploy(
    session: &Session,
    name: &FunctionName,
    artifact: &LocalArtifact,
    config: &ConfigRequest,
) -> Result<Deployed, CliError> {
    match session.client.deploy(name, artifact.digest(), config).await {
        Err(error) if error.code() == "artifact_missing" => {}
        result => return result,
    }
    let progress = output::UploadProgress::start(artifact.size_bytes());
    let content = artifact.content(progress.clone())?;
    let uploaded = session
        .client
        .upload(artifact.digest(), artifact.size_bytes(), content)
        .await;
    progress.clear();
    uploaded?;
    session.client.deploy(name, artifact.digest(), config).await
}

fn report(session: &Session, deployed: &Deployed, size_bytes: u64) -> Result<(), CliError> {
    if session.json {
        return output::json(deployed);
    }
    let Deployed {
        name,
        version,
        kind,
        url,
        ..
    } = deployed;
    if deployed.changed {
        output::line(&format!(
            "deployed {name} version {version} ({kind}, {})\n{url}",
            bytes_text(size_bytes)
        ))
    } else {
        output::line(&format!("no changes: {name} is version {version}\n{url}"))
    }
}

/// `target/x/my_handler.wasm` -> `my-handler`.
fn name_of_file(file: &Path) -> Result<FunctionName, CliError> {
    let stem = file
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    let valid = |character: char| {
        if character.is_ascii_alphanumeric() {
            character
        } else {
            '-'
        }
    };
    let name: String = stem.chars().map(valid).collect();
    // Cut before the second trim, which takes what the cut brought to the end. All characters are of one byte now.
    let name = name.trim_start_matches('-');
    let name = name[..name.len().min(NAME_CHARACTERS_MAX)].trim_end_matches('-');
    name.parse().map_err(|_| {
        CliError::usage(format!("no function name can be made of '{}'", file.display())).hint("say one with --name")
    })
}

fn parse_env(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn args() -> Args {
        Args {
            file: PathBuf::new(),
            name: None,
            memory: None,
            timeout: None,
            env: Vec::new(),
            unset_env: Vec::new(),
        }
    }

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn names_are_made_of_file_names() {
        let long = format!("{}-b", "a".repeat(62));
        for (file, name) in [
            ("target/x/my_handler.wasm", "my-handler"),
            ("Hello.Component.wasm", "hello-component"),
            ("__x__.wasm", "x"),
            ("handler", "handler"),
            ("crème.wasm", "cr-me"),
            (&*long, &long[..62]),
        ] {
            assert_eq!(name_of_file(Path::new(file)).unwrap().as_str(), name, "{file}");
        }
        for file in ["", "..", "___.wasm", "漢.wasm"] {
            assert_eq!(
                name_of_file(Path::new(file)).unwrap_err().kind().exit_code(),
                2,
                "{file}"
            );
        }
    }

    #[test]
    fn a_first_deployment_leaves_the_rest_to_the_server() {
        let args = Args {
            memory: Some(64),
            env: vec![("A".to_owned(), "1".to_owned())],
            ..args()
        };
        let config = args.config_over(None).unwrap();
        assert_eq!(
            config,
            ConfigRequest {
                memory_mib: Some(64),
                timeout_ms: None,
                env: env(&[("A", "1")])
            }
        );
    }

    #[test]
    fn a_redeployment_keeps_what_is_not_given() {
        let latest = Config {
            memory_mib: 64,
            timeout_ms: 1000,
            env: env(&[("A", "1"), ("B", "2"), ("C", "3")]),
        };
        let args = Args {
            timeout: Some(5000),
            env: vec![("B".to_owned(), "two".to_owned())],
            unset_env: vec!["C".to_owned(), "D".to_owned()],
            ..args()
        };
        let config = args.config_over(Some(&latest)).unwrap();
        let expected = env(&[("A", "1"), ("B", "two")]);
        assert_eq!(
            config,
            ConfigRequest {
                memory_mib: Some(64),
                timeout_ms: Some(5000),
                env: expected
            }
        );
    }

    #[test]
    fn a_variable_cannot_be_set_and_taken_away() {
        let args = Args {
            env: vec![("A".to_owned(), "1".to_owned())],
            unset_env: vec!["A".to_owned()],
            ..args()
        };
        assert_eq!(args.config_over(None).unwrap_err().kind().exit_code(), 2);
    }

    #[test]
    fn variables_are_pairs() {
        assert_eq!(parse_env("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(parse_env("A="), Ok(("A".to_owned(), String::new())));
        assert!(parse_env("A").is_err() && parse_env("=b").is_err());
    }
}
