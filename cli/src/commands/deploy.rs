//! `fn deploy FILE`.

mod artifact;
mod settings;

use std::path::{Path, PathBuf};

use mayfly_invoker_api::FunctionName;

use self::artifact::LocalArtifact;
use self::settings::Settings;
use crate::api::{ConfigRequest, Deployed, FunctionDetail};
use crate::error::CliError;
use crate::output;
use crate::quantity::bytes_text;
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

    #[command(flatten)]
    settings: Settings,
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
    let config = args
        .settings
        .over(latest.as_ref().map(|function| &function.latest.config))?;
    let deployed = match latest {
        Some(function) if is_unchanged(session, &function, &artifact, &config).await? => unchanged(function),
        _ => deploy(session, &name, &artifact, &config).await?,
    };
    report(session, &deployed, artifact.size_bytes())
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
    let same_config = *config == ConfigRequest::of(&latest.config);
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
    let progress = output::Progress::upload(Some(artifact.size_bytes()), "compiling");
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
