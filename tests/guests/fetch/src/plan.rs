//! What the function is told to do.

use serde::Deserialize;

/// Requests and how to send them.
#[derive(Deserialize)]
pub(crate) struct Plan {
    pub(crate) requests: Vec<Request>,
    /// Begin all before waiting for any.
    #[serde(default)]
    pub(crate) at_once: bool,
    /// Wait for the heads of the responses only, and keep everything open for ever.
    #[serde(default)]
    pub(crate) leave: bool,
    /// Trap when all has been sent.
    #[serde(default)]
    pub(crate) trap: bool,
}

/// One request.
#[derive(Deserialize)]
pub(crate) struct Request {
    #[serde(default = "get")]
    pub(crate) method: String,
    #[serde(default = "http")]
    pub(crate) scheme: String,
    pub(crate) authority: String,
    #[serde(default = "root")]
    pub(crate) path: Option<String>,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) body: String,
    /// How often the body is written.
    #[serde(default = "once")]
    pub(crate) body_times: u32,
    pub(crate) connect_ns: Option<u64>,
    pub(crate) first_byte_ns: Option<u64>,
    pub(crate) between_bytes_ns: Option<u64>,
}

fn get() -> String {
    "GET".to_owned()
}

fn once() -> u32 {
    1
}

fn http() -> String {
    "http".to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the type of the field")]
fn root() -> Option<String> {
    Some("/".to_owned())
}
