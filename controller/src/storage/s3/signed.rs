//! What a signature covers. s3s checks that it is one of what it lists; here is looked whether it lists what it has to.

use http::{HeaderMap, Uri, header};
use s3s::{S3Result, s3_error};

/// How long a URL may be signed for, in seconds, as S3 has it.
const EXPIRES_SECONDS_MAX: u64 = 7 * 24 * 3_600;

/// Every header that says what S3 is to do must be signed: else whoever is given a URL could say more than its maker.
pub(super) fn covers(headers: &HeaderMap, uri: &Uri) -> S3Result<()> {
    let query = |wanted: &str| {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let mut found = pairs.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.next().map(|(_, value)| value.into_owned())
    };
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let listed = match authorization {
        Some(authorization) => authorization
            .split([',', ' '])
            .find_map(|part| part.trim().strip_prefix("SignedHeaders="))
            .map(str::to_owned),
        None => query("x-amz-signedheaders"),
    };
    let listed = listed.unwrap_or_default();
    let is_signed = |name: &str| listed.split(';').any(|signed| signed.eq_ignore_ascii_case(name));
    let unsigned = headers
        .keys()
        .map(http::HeaderName::as_str)
        .find(|name| name.starts_with("x-amz-") && !is_signed(name));
    if let Some(name) = unsigned {
        return Err(s3_error!(
            AccessDenied,
            "the header {} is there and was not signed",
            name
        ));
    }
    // HTTP/2 has no such header; its authority is what s3s checks in its place.
    if headers.contains_key(header::HOST) && !is_signed("host") {
        return Err(s3_error!(AccessDenied, "the header host was not signed"));
    }
    let expires = query("x-amz-expires").filter(|_| authorization.is_none());
    if expires.is_some_and(|seconds| {
        seconds
            .parse::<u64>()
            .is_ok_and(|seconds| seconds > EXPIRES_SECONDS_MAX)
    }) {
        return Err(s3_error!(
            AuthorizationQueryParametersError,
            "a URL is signed for at most seven days"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use s3s::S3ErrorCode;

    use super::*;

    fn refused(uri: &str, pairs: &[(&'static str, &'static str)]) -> Option<S3ErrorCode> {
        let headers = pairs
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    http::HeaderValue::from_static(value),
                )
            })
            .collect();
        let checked = covers(&headers, &uri.parse().unwrap());
        checked.err().map(|error| error.code().clone())
    }

    #[test]
    fn what_says_what_to_do_must_be_signed() {
        const URL: &str = "/b/k?X-Amz-SignedHeaders=host%3Bx-amz-meta-a&X-Amz-Expires=604800";
        const KEY: &str = "AWS4-HMAC-SHA256 Credential=MF/20261130/us-east-1/s3/aws4_request,SignedHeaders=host;x-amz-date, Signature=0";
        let denied = Some(S3ErrorCode::AccessDenied);
        assert_eq!(
            refused(URL, &[("host", "h"), ("x-amz-meta-a", "1"), ("accept", "*/*")]),
            None
        );
        assert_eq!(
            refused(URL, &[("host", "h"), ("x-amz-copy-source", "b/secret")]),
            denied
        );
        assert_eq!(refused("/b/k?X-Amz-SignedHeaders=date", &[("host", "h")]), denied);
        assert_eq!(
            refused("/b/k", &[("host", "h"), ("authorization", KEY), ("x-amz-date", "1")]),
            None
        );
        assert_eq!(
            refused(
                "/b/k",
                &[("host", "h"), ("authorization", KEY), ("x-amz-acl", "private")]
            ),
            denied
        );
        // What a URL lists says nothing about a request that is signed in its headers.
        let both = [("host", "h"), ("authorization", KEY), ("x-amz-meta-a", "1")];
        assert_eq!(refused(URL, &both), denied);
        let long = "/b/k?X-Amz-SignedHeaders=host&X-Amz-Expires=604801";
        assert_eq!(
            refused(long, &[("host", "h")]),
            Some(S3ErrorCode::AuthorizationQueryParametersError)
        );
    }
}
