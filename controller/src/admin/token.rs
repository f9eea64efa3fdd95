//! Bearer tokens: 256 random bits, of which only a hash is stored.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use crate::admin::Admin;
use crate::body;
use crate::clock::Clock;
use crate::code::Code;
use crate::config::API_BODY_BYTES_MAX;
use crate::problem::Problem;
use crate::store::{Store, StoreError};

/// Tells a token of ours from other secrets, for people and for secret scanners.
const PREFIX: &str = "mayfly_";

/// The text of a token. Seen once, when it is made.
#[derive(Clone)]
pub struct AdminToken(String);

impl AdminToken {
    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

/// Makes a token that may do everything and stores its hash.
///
/// # Errors
/// When the store cannot be written.
pub async fn make_admin_token(
    store: &Store,
    clock: &dyn Clock,
    random: [u8; 32],
    name: &str,
) -> Result<AdminToken, StoreError> {
    let token = AdminToken(format!("{PREFIX}{}", hex(&random)));
    store.insert_token(hash(token.reveal()), name, clock.unix_ms()).await?;
    Ok(token)
}

/// Whether this server would let `token` pass.
///
/// # Errors
/// When the store cannot be read.
pub async fn knows_token(store: &Store, token: &str) -> Result<bool, StoreError> {
    // Looked up by its hash: how long that takes tells nothing about any token.
    store.token_exists(&hash(token)).await
}

/// Lets a request pass if it bears a known token.
pub(super) async fn require(State(admin): State<Admin>, request: Request, next: Next) -> Result<Response, Problem> {
    match check(&admin, request.headers()).await {
        Ok(()) => Ok(next.run(request).await),
        Err(problem) => {
            body::discard_refused(request, API_BODY_BYTES_MAX).await;
            Err(problem)
        }
    }
}

async fn check(admin: &Admin, headers: &HeaderMap) -> Result<(), Problem> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = token else {
        return Err(Problem::new(
            Code::Unauthorized,
            "this request needs a token and has none",
        ));
    };
    if !knows_token(&admin.parts.store, token.trim()).await? {
        return Err(Problem::new(Code::Unauthorized, "this token is not known here"));
    }
    Ok(())
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
