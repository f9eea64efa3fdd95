//! One object: written, read, copied, deleted.

use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use mayfly_invoker_api::EventId;
use s3s::S3ErrorCode;
use s3s::checksum::ChecksumHasher;

use super::blobs::{Received, read, slices};
use super::changes::Change;
use super::error::StorageError;
use super::{Scope, Storage};
use crate::config::{EVENTS_AT_ONCE_MAX, OBJECT_BYTES_MAX, OBJECT_KEY_BYTES_MAX};
use crate::events::Reserved;
use crate::store::{
    Blob, BlobId, Bucket, Changed, Condition, ContentId, NewEvent, ObjectMeta, ObjectPath, Removal, StoredObject,
};

/// Objects that are deleted in one transaction, at most.
const DELETED_AT_ONCE: usize = 100;
/// How often a read begins again because another object has come in between.
const READS_MAX: usize = 5;

/// What is to be written beside the bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewObject {
    pub(crate) meta: ObjectMeta,
    pub(crate) condition: Condition,
}

/// An object that is about to be there.
struct Put<'a> {
    key: &'a str,
    new: NewObject,
    bytes: u64,
    etag: String,
    blobs: Vec<Blob>,
    /// Of its event.
    name: &'static str,
}

/// An object and where its bytes are.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) object: StoredObject,
    blobs: Vec<Blob>,
}

impl Scope {
    pub(super) fn path(&self, key: &str) -> Result<ObjectPath, StorageError> {
        check_key(key)?;
        Ok(ObjectPath {
            namespace: self.namespace.clone(),
            bucket: self.bucket.clone(),
            key: key.to_owned(),
        })
    }
}

/// Whether a document in XML can say a text.
pub(super) fn is_sayable(text: &str) -> bool {
    text.chars().all(|letter| {
        !matches!(letter,
            '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
    })
}

/// Any text is a key, if a list in XML can say it.
fn check_key(key: &str) -> Result<(), StorageError> {
    if key.len() > OBJECT_KEY_BYTES_MAX {
        return Err(StorageError::new(
            S3ErrorCode::KeyTooLongError,
            format!("a key has {} bytes; at most {OBJECT_KEY_BYTES_MAX} may be", key.len()),
        ));
    }
    if key.is_empty() || !is_sayable(key) {
        return Err(StorageError::new(
            S3ErrorCode::InvalidArgument,
            "a key has one character or more, and no control characters but tabs and ends of lines",
        ));
    }
    Ok(())
}

impl Storage {
    /// Receives bytes that are to become an object, or a part of one. They are durable when this returns, and go when what
    /// is returned does.
    pub(super) async fn receive(
        &self,
        body: impl Stream<Item = Result<Bytes, s3s::StdError>>,
        checksums: ChecksumHasher,
    ) -> Result<Received, StorageError> {
        let id = BlobId::from_bytes(self.new_id());
        Ok(self.blobs.receive(id, body, OBJECT_BYTES_MAX, checksums).await?)
    }

    /// Writes an object whose bytes come.
    pub(crate) async fn put(
        &self,
        scope: &Scope,
        key: &str,
        new: NewObject,
        body: impl Stream<Item = Result<Bytes, s3s::StdError>>,
    ) -> Result<StoredObject, StorageError> {
        check_key(key)?;
        self.bucket_is_there(scope).await?;
        let received = self.receive(body, ChecksumHasher::default()).await?;
        self.put_received(scope, key, new, received, "ObjectCreated:Put").await
    }

    pub(super) fn new_id(&self) -> [u8; 16] {
        *self.ids.event(self.clock.unix_ms()).as_bytes()
    }

    /// Makes an object of what was received.
    pub(super) async fn put_received(
        &self,
        scope: &Scope,
        key: &str,
        new: NewObject,
        mut received: Received,
        name: &'static str,
    ) -> Result<StoredObject, StorageError> {
        let etag = received.etag();
        let blob = received.blob;
        let put = Put {
            key,
            new,
            bytes: blob.bytes,
            etag,
            blobs: vec![blob],
            name,
        };
        self.put_blobs(scope, put, move || received.keep()).await
    }

    /// Makes an object of files that are there. `keep` is called when nobody can be sure any more that there is no row.
    async fn put_blobs(&self, scope: &Scope, put: Put<'_>, keep: impl FnOnce()) -> Result<StoredObject, StorageError> {
        let path = scope.path(put.key)?;
        let turn = self.order.turn(scope, [put.key].into_iter()).await;
        let object = StoredObject {
            content: ContentId::from_bytes(self.new_id()),
            bytes: put.bytes,
            etag: put.etag,
            modified_ms: self.clock.unix_ms(),
            meta: put.new.meta,
        };
        let change = Change {
            name: put.name,
            key: put.key,
            written: Some((object.bytes, &object.etag)),
            at_ms: object.modified_ms,
        };
        let events = self.watchers.events(scope, change).await?;
        let reserved = Reserved::new(&self.events, &scope.namespace, events.clone())?;
        keep();
        let (store, stored, blobs, condition) = (self.store.clone(), object.clone(), put.blobs, put.new.condition);
        let files: Vec<BlobId> = blobs.iter().map(|blob| blob.id).collect();
        let transaction = async move { store.put_object(&path, &stored, &blobs, &condition, &events).await };
        let made = |changed: &Changed| {
            let is_done = *changed == Changed::Done;
            move |_: &NewEvent| is_done
        };
        let refused = match reserved.change(turn, transaction, made).await? {
            Changed::Done => return Ok(object),
            Changed::NoBucket => StorageError::no_bucket(),
            Changed::ConditionFailed => StorageError::unmet(),
        };
        self.remove_later(&files);
        Err(refused)
    }

    /// Files that belong to nothing, for sure.
    pub(super) fn remove_later(&self, blobs: &[BlobId]) {
        let (folder, blobs) = (self.blobs.clone(), blobs.to_vec());
        tokio::spawn(async move {
            for blob in blobs {
                if let Err(error) = folder.remove(blob).await {
                    tracing::warn!(%error, %blob, "a file that belongs to nothing stays for a while");
                }
            }
        });
    }

    /// The object with that key.
    pub(crate) async fn find(&self, scope: &Scope, key: &str) -> Result<StoredObject, StorageError> {
        let path = scope.path(key)?;
        match self.store.object(&path).await? {
            Some(object) => Ok(object),
            None => {
                self.bucket_is_there(scope).await?;
                Err(StorageError::no_object())
            }
        }
    }

    /// The bucket.
    pub(crate) async fn bucket(&self, scope: &Scope) -> Result<Bucket, StorageError> {
        let bucket = self.store.bucket(&scope.namespace, &scope.bucket).await?;
        bucket.ok_or_else(StorageError::no_bucket)
    }

    /// The bucket is there. Asked before bytes come, so that they come in vain less often.
    pub(crate) async fn bucket_is_there(&self, scope: &Scope) -> Result<(), StorageError> {
        self.bucket(scope).await.map(drop)
    }

    /// The object with that key, and where its bytes are.
    pub(crate) async fn content(&self, scope: &Scope, key: &str) -> Result<Content, StorageError> {
        for _ in 0..READS_MAX {
            let object = self.find(scope, key).await?;
            let blobs = self.store.blobs_of(object.content).await?;
            if blobs.iter().map(|blob| blob.bytes).sum::<u64>() == object.bytes && !blobs.is_empty() {
                return Ok(Content { object, blobs });
            }
        }
        Err(StorageError::new(
            S3ErrorCode::SlowDown,
            "the object is being replaced again and again: try again",
        ))
    }

    /// The bytes of a content. Those of one file can be read to their end whatever happens to the object meanwhile.
    pub(crate) async fn open(
        &self,
        content: &Content,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + 'static, StorageError> {
        let slices = slices(&content.blobs, range);
        let first = match slices.front() {
            Some(slice) => Some(self.blobs.open_blob(slice.blob).await?),
            None => None,
        };
        let stream = read(self.blobs.clone(), first, slices);
        Ok(stream.inspect_err(|error| {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "an object was not read to its end"
            );
        }))
    }

    /// Makes an object of the bytes of another one.
    pub(super) async fn copy(
        &self,
        scope: &Scope,
        source: &Content,
        key: &str,
        new: NewObject,
    ) -> Result<StoredObject, StorageError> {
        scope.path(key)?;
        let copies: Vec<(BlobId, BlobId)> = source
            .blobs
            .iter()
            .map(|blob| (blob.id, BlobId::from_bytes(self.new_id())))
            .collect();
        let copied = self.blobs.copy(&copies).await?;
        let blobs = copies.iter().zip(&source.blobs);
        let put = Put {
            key,
            new,
            bytes: source.object.bytes,
            etag: source.object.etag.clone(),
            blobs: blobs.map(|((_, id), blob)| Blob { id: *id, ..*blob }).collect(),
            name: "ObjectCreated:Copy",
        };
        self.put_blobs(scope, put, move || copied.keep()).await
    }

    /// Deletes objects. Gives of each whether there was one. Not all at once, if there are many.
    pub(crate) async fn delete(
        &self,
        scope: &Scope,
        keys: Vec<(String, Condition)>,
    ) -> Result<Vec<Result<bool, StorageError>>, StorageError> {
        self.bucket_is_there(scope).await?;
        let mut ended = Vec::with_capacity(keys.len());
        let mut rest = keys.into_iter().peekable();
        while rest.peek().is_some() {
            ended.extend(self.delete_some(scope, &mut rest).await?);
        }
        Ok(ended)
    }

    /// Deletes the next of these objects, as many as one transaction should have.
    async fn delete_some(
        &self,
        scope: &Scope,
        keys: &mut impl Iterator<Item = (String, Condition)>,
    ) -> Result<Vec<Result<bool, StorageError>>, StorageError> {
        let keys: Vec<(String, Condition)> = keys.take(self.deleted_at_once(scope).await?).collect();
        let turn = self.order.turn(scope, keys.iter().map(|(key, _)| key.as_str())).await;
        let now_ms = self.clock.unix_ms();
        let (mut removals, mut all_events) = (Vec::with_capacity(keys.len()), Vec::new());
        for (key, condition) in keys {
            check_key(&key)?;
            let change = Change {
                name: "ObjectRemoved:Delete",
                key: &key,
                written: None,
                at_ms: now_ms,
            };
            let events = self.watchers.events(scope, change).await?;
            all_events.extend_from_slice(&events);
            removals.push(Removal { key, condition, events });
        }
        let reserved = Reserved::new(&self.events, &scope.namespace, all_events)?;
        let (store, namespace, bucket) = (self.store.clone(), scope.namespace.clone(), scope.bucket.clone());
        let transaction = async move {
            let ended = store.delete_objects(&namespace, &bucket, &removals, now_ms).await?;
            Ok((removals, ended))
        };
        let made = |(removals, ended): &(Vec<Removal>, Vec<Result<bool, Changed>>)| {
            let removed = removals.iter().zip(ended).filter(|(_, ended)| **ended == Ok(true));
            let events: HashSet<EventId> = removed
                .flat_map(|(removal, _)| &removal.events)
                .map(|event| event.id)
                .collect();
            move |event: &NewEvent| events.contains(&event.id)
        };
        let (_, ended) = reserved.change(turn, transaction, made).await?;
        let unmet = |_: Changed| StorageError::unmet();
        Ok(ended.into_iter().map(|ended| ended.map_err(unmet)).collect())
    }

    /// So many that there are not too many events.
    async fn deleted_at_once(&self, scope: &Scope) -> Result<usize, StorageError> {
        let watchers = self.watchers.count(scope).await?;
        Ok((EVENTS_AT_ONCE_MAX / watchers.max(1)).clamp(1, DELETED_AT_ONCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_any_text_that_xml_can_say() {
        let long = "\u{e4}".repeat(512);
        for key in [
            "a",
            "../../etc/passwd",
            "a//b/",
            " ",
            "a\nb\tc\r",
            "\u{1f600}",
            "C:\\x",
            long.as_str(),
        ] {
            assert!(check_key(key).is_ok(), "{key:?}");
        }
        let too_long = format!("{long}x");
        for key in ["", "a\0b", "\u{1}", "\u{b}", "\u{ffff}", too_long.as_str()] {
            assert!(check_key(key).is_err(), "{key:?}");
        }
    }
}
