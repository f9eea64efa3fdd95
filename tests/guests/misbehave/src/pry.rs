//! Looks for what belongs to the host or to other tenants.

use std::fs::{self, File, OpenOptions};
use std::net::{TcpListener, TcpStream, UdpSocket};

use serde_json::json;
use wasip2::cli::environment::{get_arguments, get_environment, initial_cwd};
use wasip2::cli::{terminal_stderr, terminal_stdin, terminal_stdout};
use wasip2::filesystem::preopens::get_directories;
use wasip2::http::types::ResponseOutparam;
use wasip2::io::streams::StreamError;
use wasip2::random::insecure_seed::insecure_seed;
use wasip2::random::random::get_random_bytes;

use crate::answer::Answer;

/// Names by which a filesystem could be reached, were there one.
const PATHS: [&str; 14] = [
    "",
    ".",
    "..",
    "/",
    "/etc/passwd",
    "../../../../etc/passwd",
    "/proc/self/environ",
    "/proc/self/mem",
    "/proc/1/environ",
    "/dev/null",
    "/tmp",
    "/tmp/../etc/passwd/",
    "./a/../../b/",
    "//etc//passwd",
];

/// Tells everything that can be seen.
pub(crate) fn pry(out: ResponseOutparam) {
    let mut opened = Vec::new();
    for path in PATHS {
        opened.extend(File::open(path).is_ok().then(|| format!("open {path}")));
        opened.extend(fs::read_dir(path).is_ok().then(|| format!("list {path}")));
        opened.extend(fs::metadata(path).is_ok().then(|| format!("stat {path}")));
        opened.extend(fs::read_link(path).is_ok().then(|| format!("readlink {path}")));
        opened.extend(fs::remove_file(path).is_ok().then(|| format!("remove {path}")));
        opened.extend(fs::hard_link(path, "link").is_ok().then(|| format!("link {path}")));
        opened.extend(fs::rename(path, "moved").is_ok().then(|| format!("rename {path}")));
        let made = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        opened.extend(made.is_ok().then(|| format!("truncate {path}")));
    }
    let mut connected = Vec::new();
    for address in ["127.0.0.1:22", "127.0.0.1:5432", "[::1]:5432", "169.254.169.254:80"] {
        connected.extend(TcpStream::connect(address).is_ok().then_some(address));
    }
    connected.extend(TcpListener::bind("0.0.0.0:0").is_ok().then_some("tcp listener"));
    connected.extend(UdpSocket::bind("0.0.0.0:0").is_ok().then_some("udp socket"));
    let stdin = wasip2::cli::stdin::get_stdin().blocking_read(1024);
    let seen = json!({
        "environment": get_environment(),
        "arguments": get_arguments(),
        "cwd": initial_cwd(),
        "directories": get_directories().into_iter().map(|(_, name)| name).collect::<Vec<_>>(),
        "terminals": [
            terminal_stdin::get_terminal_stdin().is_some(),
            terminal_stdout::get_terminal_stdout().is_some(),
            terminal_stderr::get_terminal_stderr().is_some(),
        ],
        "stdin": match stdin {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(StreamError::Closed) => String::new(),
            Err(error) => error.to_string(),
        },
        "opened": opened,
        "connected": connected,
    });
    Answer::text(out, &seen.to_string());
}

/// 16 random bytes and the seed of the insecure generator, both in hex.
pub(crate) fn random_hex() -> String {
    let bytes: String = get_random_bytes(16).iter().map(|byte| format!("{byte:02x}")).collect();
    let (low, high) = insecure_seed();
    format!("{bytes} {low:016x}{high:016x}")
}
