//! What an object says of itself, between S3's words and the store's.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto::{Checksum, ETag, ETagCondition, Metadata, Timestamp, TimestampFormat};
use s3s::{S3ErrorCode, S3Result, TrailingHeaders, s3_error};

use crate::config::OBJECT_META_BYTES_MAX;
use crate::storage::StorageError;
use crate::store::{Condition, ObjectMeta};

/// What comes with a request that writes an object.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub(super) content_type: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) expires: Option<Timestamp>,
    pub(super) user: Option<Metadata>,
}

/// The fields of [`Described`] out of an operation's input, whatever its type.
macro_rules! described {
    ($input:expr) => {
        $crate::storage::s3::meta::Described {
            content_type: $input.content_type.take(),
            content_encoding: $input.content_encoding.take(),
            content_disposition: $input.content_disposition.take(),
            content_language: $input.content_language.take(),
            cache_control: $input.cache_control.take(),
            expires: $input.expires.take(),
            user: $input.metadata.take(),
        }
    };
}

/// Says no to what would be taken for granted and is not done.
macro_rules! refuse_what_is_not_done {
    ($input:expr) => {
        let is_asked_for = $input.server_side_encryption.is_some()
            || $input.sse_customer_algorithm.is_some()
            || $input.ssekms_key_id.is_some()
            || $input.object_lock_mode.is_some()
            || $input.object_lock_legal_hold_status.is_some()
            || $input.tagging.is_some()
            || $input.website_redirect_location.is_some()
            || $input.grant_full_control.is_some()
            || $input.grant_read.is_some()
            || $input.grant_read_acp.is_some()
            || $input.grant_write_acp.is_some();
        let is_shared = $input
            .acl
            .as_ref()
            .is_some_and(|acl| acl.as_str().starts_with("public") || acl.as_str().starts_with("auth"));
        if is_asked_for || is_shared {
            return Err(s3s::s3_error!(
                NotImplemented,
                "encryption, locks, tags, redirects and grants of objects are not there"
            ));
        }
    };
}

pub(super) use {described, refuse_what_is_not_done};

impl Described {
    pub(super) fn into_meta(self) -> S3Result<ObjectMeta> {
        let encoding = self.content_encoding.map(|encoding| {
            // It is how the bytes came, not what they are.
            let own = encoding
                .split(',')
                .map(str::trim)
                .filter(|name| !name.eq_ignore_ascii_case("aws-chunked"));
            own.collect::<Vec<_>>().join(",")
        });
        let headers = [
            ("content-type", self.content_type),
            ("content-encoding", encoding.filter(|encoding| !encoding.is_empty())),
            ("content-disposition", self.content_disposition),
            ("content-language", self.content_language),
            ("cache-control", self.cache_control),
            ("expires", self.expires.map(|expires| date(&expires))),
        ];
        let user: BTreeMap<String, String> = self.user.unwrap_or_default().into_iter().collect();
        let bytes: usize = user.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > OBJECT_META_BYTES_MAX {
            return Err(s3_error!(MetadataTooLarge));
        }
        Ok(ObjectMeta {
            headers: headers
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect(),
            user,
            checksums: BTreeMap::new(),
        })
    }
}

fn date(timestamp: &Timestamp) -> String {
    let mut text = Vec::new();
    // It writes to memory.
    let _ = timestamp.format(TimestampFormat::HttpDate, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// A header that was kept.
pub(super) fn header(meta: &ObjectMeta, name: &str) -> Option<String> {
    meta.headers.get(name).cloned()
}

pub(super) fn expires(meta: &ObjectMeta) -> Option<Timestamp> {
    Timestamp::parse(TimestampFormat::HttpDate, meta.headers.get("expires")?).ok()
}

pub(super) fn user(meta: &ObjectMeta) -> Option<Metadata> {
    let user = meta.user.clone();
    (!user.is_empty()).then(|| user.into_iter().collect())
}

pub(super) fn timestamp(unix_ms: i64) -> Timestamp {
    let since = Duration::from_millis(u64::try_from(unix_ms).unwrap_or(0));
    Timestamp::from(UNIX_EPOCH + since)
}

pub(super) fn strong(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

/// What must hold so that something is written or deleted.
pub(super) fn condition(if_match: Option<ETagCondition>, if_none_match: Option<ETagCondition>) -> S3Result<Condition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::None),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Absent),
        (Some(ETagCondition::Any), None) => Ok(Condition::Present),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Condition::Etag(etag.into_value())),
        _ => Err(s3_error!(
            NotImplemented,
            "writing takes If-Match with an etag or If-None-Match with *, and not both"
        )),
    }
}

/// The checksums that a client says its bytes have.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    sums: BTreeMap<&'static str, Option<String>>,
    content_md5: Option<String>,
}

/// [`Claimed`] out of the input of an operation.
macro_rules! claimed {
    ($input:expr, $headers:expr) => {
        $crate::storage::s3::meta::Claimed::new(
            [
                ("crc32", $input.checksum_crc32.take()),
                ("crc32c", $input.checksum_crc32c.take()),
                ("crc64nvme", $input.checksum_crc64nvme.take()),
                ("sha1", $input.checksum_sha1.take()),
                ("sha256", $input.checksum_sha256.take()),
            ],
            $input.content_md5.take(),
            $headers,
        )
    };
}

pub(super) use claimed;

impl Claimed {
    pub(super) fn new(
        sums: [(&'static str, Option<String>); 5],
        content_md5: Option<String>,
        headers: &http::HeaderMap,
    ) -> S3Result<Self> {
        let trailers: Vec<String> = headers
            .get_all("x-amz-trailer")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|names| names.split(','))
            .map(|name| name.trim().to_ascii_lowercase())
            .collect();
        let announced = headers
            .keys()
            .map(|name| name.as_str().to_owned())
            .chain(trailers.iter().cloned());
        for name in announced {
            let unknown = name.strip_prefix("x-amz-checksum-").filter(|name| {
                !["algorithm", "type", "mode"].contains(name) && !sums.iter().any(|(known, _)| known == name)
            });
            if let Some(unknown) = unknown {
                return Err(s3_error!(
                    NotImplemented,
                    "the checksum {} cannot be proven here",
                    unknown
                ));
            }
        }
        let follows = |name: &str| {
            trailers
                .iter()
                .any(|trailer| *trailer == format!("x-amz-checksum-{name}"))
        };
        // One that follows its bytes is not known yet.
        let wanted = sums.into_iter().filter(|(name, sum)| sum.is_some() || follows(name));
        Ok(Self {
            sums: wanted.collect(),
            content_md5,
        })
    }

    /// Computes what is claimed.
    pub(super) fn hasher(&self) -> ChecksumHasher {
        let is_claimed = |name: &str| self.sums.contains_key(name);
        ChecksumHasher {
            crc32: is_claimed("crc32").then(Crc32::new),
            crc32c: is_claimed("crc32c").then(Crc32c::new),
            sha1: is_claimed("sha1").then(Sha1::new),
            sha256: is_claimed("sha256").then(Sha256::new),
            crc64nvme: is_claimed("crc64nvme").then(Crc64Nvme::new),
        }
    }

    /// Proves it, and gives the checksums that hold.
    pub(super) fn prove(
        self,
        found: &Checksum,
        md5: [u8; 16],
        trailers: Option<&TrailingHeaders>,
    ) -> Result<BTreeMap<String, String>, StorageError> {
        use base64::Engine as _;
        let wrong = |name: &str| {
            StorageError::new(
                S3ErrorCode::BadDigest,
                format!("the body does not have the {name} that was said, or none came behind it"),
            )
        };
        let md5 = base64::engine::general_purpose::STANDARD.encode(md5);
        if self.content_md5.is_some_and(|claimed| claimed != md5) {
            return Err(wrong("MD5"));
        }
        let mut proven = BTreeMap::new();
        for (name, claimed) in self.sums {
            let found = found_sum(found, name).ok_or_else(|| wrong(name))?;
            let behind = || {
                trailers?.read(|fields| {
                    let value = fields.get(format!("x-amz-checksum-{name}"))?;
                    value.to_str().ok().map(str::to_owned)
                })?
            };
            if claimed.or_else(behind).as_deref() != Some(found) {
                return Err(wrong(name));
            }
            proven.insert(name.to_owned(), found.to_owned());
        }
        Ok(proven)
    }
}

fn found_sum<'a>(found: &'a Checksum, name: &str) -> Option<&'a str> {
    let sum = match name {
        "crc32" => &found.checksum_crc32,
        "crc32c" => &found.checksum_crc32c,
        "crc64nvme" => &found.checksum_crc64nvme,
        "sha1" => &found.checksum_sha1,
        _ => &found.checksum_sha256,
    };
    sum.as_deref()
}
