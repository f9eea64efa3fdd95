//! Objects that come in parts.

use s3s::S3ErrorCode;
use s3s::crypto::{Checksum as _, Md5};

use super::blobs::Received;
use super::changes::Change;
use super::error::StorageError;
use super::{Scope, Storage};
use crate::config::{PART_BYTES_MIN, PARTS_MAX, UPLOADED_BYTES_MAX, UPLOADS_MAX};
use crate::events::Reserved;
use crate::store::{Completion, Condition, ContentId, NewEvent, ObjectMeta, StoredObject, StoredPart, Upload};

impl Storage {
    /// Begins an upload.
    pub(super) async fn begin_upload(
        &self,
        scope: &Scope,
        key: &str,
        meta: ObjectMeta,
    ) -> Result<ContentId, StorageError> {
        let path = scope.path(key)?;
        if self.store.count_uploads(&scope.namespace, &scope.bucket).await? >= UPLOADS_MAX {
            return Err(StorageError::new(
                S3ErrorCode::SlowDown,
                format!("{UPLOADS_MAX} uploads to this bucket have not ended: complete or abort some"),
            ));
        }
        let upload = Upload {
            id: ContentId::from_bytes(self.new_id()),
            path,
            meta,
            created_ms: self.clock.unix_ms(),
        };
        if self.store.begin_upload(&upload).await? {
            Ok(upload.id)
        } else {
            Err(StorageError::no_bucket())
        }
    }

    /// The upload, which has not ended.
    pub(super) async fn upload(&self, scope: &Scope, key: &str, id: &str) -> Result<Upload, StorageError> {
        let path = scope.path(key)?;
        let id: ContentId = id.parse().map_err(|_| StorageError::no_upload())?;
        let upload = self.store.upload(&path, id).await?;
        upload.ok_or_else(StorageError::no_upload)
    }

    /// Keeps what was received as a part.
    pub(super) async fn put_part(
        &self,
        upload: &Upload,
        number: i32,
        mut received: Received,
    ) -> Result<StoredPart, StorageError> {
        let part = StoredPart {
            blob: received.blob.id,
            number: part_number(number)?,
            bytes: received.blob.bytes,
            etag: received.etag(),
            written_ms: self.clock.unix_ms(),
        };
        received.keep();
        if self.store.put_part(&upload.path, upload.id, &part).await? {
            Ok(part)
        } else {
            self.remove_later(&[part.blob]);
            Err(StorageError::no_upload())
        }
    }

    /// Parts of an upload whose numbers follow `after`.
    pub(super) async fn parts(&self, upload: &Upload, after: u32, limit: u32) -> Result<Vec<StoredPart>, StorageError> {
        Ok(self.store.parts(upload.id, after, limit).await?)
    }

    /// Makes the object of the parts that are named with their etags.
    pub(super) async fn complete(
        &self,
        scope: &Scope,
        upload: Upload,
        wanted: &[(i32, Option<String>)],
        announced_bytes: Option<u64>,
        condition: Condition,
    ) -> Result<StoredObject, StorageError> {
        let there = self.store.parts(upload.id, 0, PARTS_MAX + 1).await?;
        let parts = chosen(&there, wanted)?;
        let bytes = parts.iter().map(|part| part.bytes).sum();
        if announced_bytes.is_some_and(|announced| announced != bytes) {
            return Err(StorageError::new(
                S3ErrorCode::InvalidRequest,
                format!("the parts have {bytes} bytes together, and others were announced"),
            ));
        }
        if bytes > UPLOADED_BYTES_MAX {
            return Err(StorageError::new(
                S3ErrorCode::EntityTooLarge,
                format!("the parts have {bytes} bytes together; at most {UPLOADED_BYTES_MAX} may be"),
            ));
        }
        let turn = self.order.turn(scope, [upload.path.key.as_str()].into_iter()).await;
        let object = StoredObject {
            content: upload.id,
            bytes,
            etag: etag_of(&parts),
            modified_ms: self.clock.unix_ms(),
            meta: upload.meta,
        };
        let change = Change {
            name: "ObjectCreated:CompleteMultipartUpload",
            key: &upload.path.key,
            written: Some((bytes, &object.etag)),
            at_ms: object.modified_ms,
        };
        let events = self.watchers.events(scope, change).await?;
        let reserved = Reserved::new(&self.events, &scope.namespace, events.clone())?;
        let (store, put, path) = (self.store.clone(), object.clone(), upload.path);
        let transaction = async move { store.complete_upload(&path, &put, &parts, &condition, &events).await };
        let made = |completion: &Completion| {
            let is_done = *completion == Completion::Done;
            move |_: &NewEvent| is_done
        };
        match reserved.change(turn, transaction, made).await? {
            Completion::Done => Ok(object),
            Completion::NoUpload => Err(StorageError::no_upload()),
            Completion::PartsChanged => Err(StorageError::new(
                S3ErrorCode::InvalidPart,
                "one of the parts was sent again meanwhile",
            )),
            Completion::ConditionFailed => Err(StorageError::unmet()),
        }
    }

    /// Gives an upload up.
    pub(super) async fn abort(&self, upload: &Upload) -> Result<(), StorageError> {
        let now_ms = self.clock.unix_ms();
        if self.store.abort_upload(&upload.path, upload.id, now_ms).await? {
            Ok(())
        } else {
            Err(StorageError::no_upload())
        }
    }
}

pub(super) fn part_number(number: i32) -> Result<u32, StorageError> {
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=PARTS_MAX).contains(number))
        .ok_or_else(|| {
            StorageError::new(
                S3ErrorCode::InvalidArgument,
                format!("parts have numbers from 1 to {PARTS_MAX}, not {number}"),
            )
        })
}

/// Those parts that the object is to be made of.
fn chosen(there: &[StoredPart], wanted: &[(i32, Option<String>)]) -> Result<Vec<StoredPart>, StorageError> {
    if wanted.is_empty() {
        return Err(StorageError::new(
            S3ErrorCode::MalformedXML,
            "an upload is completed with one part or more",
        ));
    }
    let mut parts: Vec<StoredPart> = Vec::with_capacity(wanted.len());
    for (number, etag) in wanted {
        let number = part_number(*number)?;
        if parts.last().is_some_and(|last| last.number >= number) {
            return Err(StorageError::new(
                S3ErrorCode::InvalidPartOrder,
                "the parts must be named in the order of their numbers",
            ));
        }
        let found = there.binary_search_by_key(&number, |part| part.number);
        let part = found.ok().map(|place| &there[place]);
        let part = part.filter(|part| etag.as_ref().is_none_or(|etag| *etag == part.etag));
        let part = part.ok_or_else(|| {
            StorageError::new(
                S3ErrorCode::InvalidPart,
                format!("there is no part {number} with this etag"),
            )
        })?;
        parts.push(part.clone());
    }
    let all_but_last = &parts[..parts.len() - 1];
    if let Some(small) = all_but_last.iter().find(|part| part.bytes < PART_BYTES_MIN) {
        return Err(StorageError::new(
            S3ErrorCode::EntityTooSmall,
            format!(
                "part {} has {} bytes; all but the last have {PART_BYTES_MIN} or more",
                small.number, small.bytes
            ),
        ));
    }
    Ok(parts)
}

/// As S3 does: the MD5 of the parts' MD5s, and how many they are.
fn etag_of(parts: &[StoredPart]) -> String {
    let mut all = Md5::new();
    for part in parts {
        let digits = part.etag.as_bytes().chunks(2);
        let bytes = digits.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        all.update(&bytes.collect::<Vec<u8>>());
    }
    let digest: String = all.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digest}-{}", parts.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::BlobId;

    fn part(number: u32, bytes: u64, etag: &str) -> StoredPart {
        StoredPart {
            blob: BlobId::from_bytes([0; 16]),
            number,
            bytes,
            etag: etag.to_owned(),
            written_ms: 0,
        }
    }

    fn numbers(there: &[StoredPart], wanted: &[(i32, Option<&str>)]) -> Result<Vec<u32>, S3ErrorCode> {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(number, etag)| (*number, etag.map(str::to_owned)))
            .collect();
        match chosen(there, &wanted) {
            Ok(parts) => Ok(parts.iter().map(|part| part.number).collect()),
            Err(StorageError::S3(code, _)) => Err(code),
            Err(StorageError::Problem(problem)) => panic!("{problem:?}"),
        }
    }

    #[test]
    fn parts_are_chosen_as_s3_does() {
        let there = [
            part(1, PART_BYTES_MIN, "a"),
            part(2, PART_BYTES_MIN - 1, "b"),
            part(9, 1, "c"),
        ];
        assert_eq!(numbers(&there, &[(1, Some("a")), (9, None)]), Ok(vec![1, 9]));
        assert_eq!(numbers(&there, &[(2, None)]), Ok(vec![2]));
        assert_eq!(
            numbers(&there, &[(2, None), (9, None)]),
            Err(S3ErrorCode::EntityTooSmall)
        );
        assert_eq!(
            numbers(&there, &[(9, None), (1, None)]),
            Err(S3ErrorCode::InvalidPartOrder)
        );
        assert_eq!(
            numbers(&there, &[(1, None), (1, None)]),
            Err(S3ErrorCode::InvalidPartOrder)
        );
        assert_eq!(numbers(&there, &[(3, None)]), Err(S3ErrorCode::InvalidPart));
        assert_eq!(numbers(&there, &[(1, Some("b"))]), Err(S3ErrorCode::InvalidPart));
        assert_eq!(numbers(&there, &[(0, None)]), Err(S3ErrorCode::InvalidArgument));
        assert_eq!(numbers(&there, &[]), Err(S3ErrorCode::MalformedXML));
    }

    #[test]
    fn the_etag_of_parts_is_the_one_that_s3_has() {
        // Made with Python: md5(md5(b"hello").digest() + md5(b" world").digest()).
        let parts = [
            part(1, 5, "5d41402abc4b2a76b9719d911017c592"),
            part(2, 6, "b7913aa15c43be7d534b4eec6e99e8a0"),
        ];
        assert_eq!(etag_of(&parts), "a56979024342128ecebc884e3442121b-2");
    }
}
