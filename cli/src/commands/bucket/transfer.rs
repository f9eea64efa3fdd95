//! `fn bucket put` and `fn bucket get`: the bytes go through piece by piece.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use futures_util::{Stream, StreamExt as _, stream};
use mayfly_invoker_api::BucketName;
use reqwest::header::HeaderValue;
use serde_json::json;
use tokio::sync::mpsc;

use crate::client::Download;
use crate::commands::invoke::Sink;
use crate::error::{CliError, ErrorKind, cause_text};
use crate::output::{self, Progress};
use crate::quantity::bytes_text;
use crate::session::Session;

/// Bytes that are read and sent at once.
const CHUNK_BYTES: usize = 64 << 10;
/// So many times of that are read before they are sent.
const CHUNKS_AHEAD: usize = 4;

#[derive(Debug, clap::Args)]
pub(super) struct PutArgs {
    /// Name of the bucket
    bucket: BucketName,

    /// The file; or `-` for standard input
    file: PathBuf,

    /// Key of the object; else the name of the file; one that ends with / is put before it
    key: Option<String>,

    /// What the bytes are, such as image/jpeg
    #[arg(long, value_name = "TYPE", default_value = "application/octet-stream", value_parser = parse_header)]
    content_type: HeaderValue,
}

#[derive(Debug, clap::Args)]
pub(super) struct GetArgs {
    /// Name of the bucket
    bucket: BucketName,

    /// Key of the object
    key: String,

    /// Where the bytes go; else to standard output
    file: Option<PathBuf>,
}

fn parse_header(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| "not the value of a header".to_owned())
}

pub(super) async fn put(session: &Session, args: &PutArgs) -> Result<(), CliError> {
    let key = key_of(args)?;
    let source = Source::open(&args.file)?;
    // A server that refuses what is still being sent closes the line: who asks first hears why.
    session.client.check_bucket(args.bucket.as_str()).await?;
    let progress = Progress::upload(source.size_bytes, "storing");
    let size_bytes = source.size_bytes;
    let content = source.content(progress.clone());
    let put = session
        .client
        .put_object(
            args.bucket.as_str(),
            &key,
            args.content_type.clone(),
            size_bytes,
            content,
        )
        .await;
    progress.clear();
    let object = put?;
    if session.json {
        return output::json(&object);
    }
    output::line(&format!(
        "{} {}",
        output::escape_line(&object.key),
        bytes_text(object.bytes)
    ))
}

/// The key that was given, or one made of the name of the file.
fn key_of(args: &PutArgs) -> Result<String, CliError> {
    let folder = args.key.as_deref().unwrap_or_default();
    if !folder.is_empty() && !folder.ends_with('/') {
        return Ok(folder.to_owned());
    }
    let is_stdin = args.file.as_os_str() == "-";
    let name = args
        .file
        .file_name()
        .filter(|_| !is_stdin)
        .and_then(|name| name.to_str());
    match name {
        Some(name) => Ok(format!("{folder}{name}")),
        None => Err(CliError::usage("there is no name of a file that could be the key").hint("give the key, too")),
    }
}

/// What is sent.
struct Source {
    reader: Box<dyn Read + Send>,
    /// None when nobody knows before the end.
    size_bytes: Option<u64>,
}

impl Source {
    fn open(path: &Path) -> Result<Self, CliError> {
        if path.as_os_str() == "-" {
            return Ok(Self {
                reader: Box::new(io::stdin()),
                size_bytes: None,
            });
        }
        let unreadable = |cause: io::Error| CliError::unreadable(path.display(), &cause);
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(unreadable(io::ErrorKind::IsADirectory.into()));
        }
        // A pipe or a device says that it has none.
        let size_bytes = metadata.is_file().then_some(metadata.len());
        Ok(Self {
            reader: Box::new(file),
            size_bytes,
        })
    }

    /// The bytes, each piece counted by `progress`. They are read on a thread of its own: a pipe may keep silent for long, and
    /// meanwhile what came before has to go out.
    fn content(mut self, progress: Progress) -> impl Stream<Item = io::Result<Vec<u8>>> + Send + 'static {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        std::thread::spawn(move || {
            loop {
                let chunk = self.next_chunk();
                let is_over = chunk.as_ref().map_or(true, Vec::is_empty);
                // Without a receiver, nobody wants the rest.
                if chunk.as_ref().is_ok_and(Vec::is_empty) || sender.blocking_send(chunk).is_err() || is_over {
                    return;
                }
            }
        });
        let pieces = stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        pieces.inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                progress.advance(chunk.len() as u64);
            }
        })
    }

    /// The next bytes; none at the end.
    fn next_chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = loop {
            match self.reader.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        chunk.truncate(read);
        Ok(chunk)
    }
}

pub(super) async fn get(session: &Session, args: &GetArgs) -> Result<(), CliError> {
    let file = args.file.as_deref().filter(|file| file.as_os_str() != "-");
    if file.is_none() && session.json {
        return Err(CliError::usage("with --json, the bytes cannot go to standard output, too").hint("name a FILE"));
    }
    let download = session.client.object_bytes(args.bucket.as_str(), &args.key).await?;
    match file {
        None => print(download).await,
        Some(file) => {
            let etag = download.etag.clone();
            let bytes = save(download, file).await?;
            if session.json {
                let file = file.display().to_string();
                return output::json(&json!({ "key": args.key, "bytes": bytes, "etag": etag, "file": file }));
            }
            output::note(&format!("{} in {}", bytes_text(bytes), file.display()));
            Ok(())
        }
    }
}

async fn print(mut download: Download) -> Result<(), CliError> {
    let mut sink = Sink::new(false);
    while let Some(chunk) = download.chunk().await? {
        sink.take(&chunk)?;
    }
    sink.finish().map(drop)
}

/// Writes beside the file and puts it in its place at the end, so that half of an object never stands there.
async fn save(mut download: Download, file: &Path) -> Result<u64, CliError> {
    let unwritable = |cause: io::Error| unwritable(file, &cause);
    if file.is_dir() {
        return Err(unwritable(io::ErrorKind::IsADirectory.into()));
    }
    // What is no plain file, such as /dev/null, cannot be replaced, only written to.
    let replaces = !file.exists() || file.is_file();
    let written_to = if replaces { beside(file) } else { file.to_owned() };
    let mut partial = File::create(&written_to).map_err(unwritable)?;
    let progress = Progress::download(download.bytes);
    let copying = async {
        let mut bytes: u64 = 0;
        while let Some(chunk) = download.chunk().await? {
            partial.write_all(&chunk).map_err(unwritable)?;
            progress.advance(chunk.len() as u64);
            bytes += chunk.len() as u64;
        }
        if replaces {
            fs::rename(&written_to, file).map_err(unwritable)?;
        }
        Ok(bytes)
    };
    let ended = tokio::select! {
        ended = copying => ended,
        _ = tokio::signal::ctrl_c() => Err(CliError::new(ErrorKind::Failed, "cancelled", "stopped before all of it was there")),
    };
    progress.clear();
    if ended.is_err() && replaces {
        // Nothing more can be done about what cannot even be deleted; the error that is told is the first.
        let _ = fs::remove_file(&written_to);
    }
    ended
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    file.with_file_name(name)
}

fn unwritable(file: &Path, cause: &io::Error) -> CliError {
    let message = format!("cannot write {}: {}", file.display(), cause_text(cause));
    CliError::new(ErrorKind::Usage, "file_not_written", message)
}
