//! Any row of changes of objects, beside a model of what should be there.

use std::collections::{BTreeMap, BTreeSet};

use mayfly_controller::store::{
    BlobId, Changed, Completion, Condition, ContentId, NewEvent, ObjectMeta, Removal, Store, StoredObject, StoredPart,
    Upload,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::bed::{Bed, DAY_MS, default, function};
use crate::events::event;
use crate::objects::{AFTER_ALL, blob, gone, id, is_there, make_bucket, object, part, path, photos, put};

#[derive(Debug, Clone)]
enum Step {
    Put { key: usize, condition: usize },
    Delete { keys: Vec<usize> },
    Begin { key: usize },
    Part { upload: usize, number: u32 },
    Complete { upload: usize },
    Abort { upload: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_usize, 0..4_usize).prop_map(|(key, condition)| Step::Put { key, condition }),
        2 => vec(0..4_usize, 1..4).prop_map(|keys| Step::Delete { keys }),
        1 => (0..4_usize).prop_map(|key| Step::Begin { key }),
        3 => (0..4_usize, 1..4_u32).prop_map(|(upload, number)| Step::Part { upload, number }),
        1 => (0..4_usize).prop_map(|upload| Step::Complete { upload }),
        1 => (0..4_usize).prop_map(|upload| Step::Abort { upload }),
    ]
}

/// What should be there.
#[derive(Default)]
struct Model {
    objects: BTreeMap<String, (ContentId, Vec<BlobId>)>,
    uploads: Vec<(Upload, BTreeMap<u32, StoredPart>)>,
    written: BTreeSet<BlobId>,
    number: u64,
    events: Vec<(NewEvent, bool)>,
}

impl Model {
    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn event(&mut self) -> NewEvent {
        let number = self.next();
        event(number, &function("f"))
    }

    async fn take(&mut self, store: &Store, step: Step) {
        let key = |place: usize| format!("key/{place}");
        match step {
            Step::Put { key: place, condition } => self.put(store, key(place), condition).await,
            Step::Delete { keys } => {
                let keys: Vec<String> = keys.into_iter().map(key).collect();
                let follow: Vec<NewEvent> = keys.iter().map(|_| self.event()).collect();
                let removals = keys.iter().zip(&follow).map(|(key, event)| Removal {
                    key: key.clone(),
                    condition: Condition::None,
                    events: vec![event.clone()],
                });
                let removals: Vec<Removal> = removals.collect();
                let ended = store
                    .delete_objects(&default(), &photos(), &removals, DAY_MS)
                    .await
                    .unwrap();
                for ((key, event), ended) in keys.iter().zip(follow).zip(ended) {
                    let was_there = self.objects.remove(key).is_some();
                    assert_eq!(ended, Ok(was_there));
                    self.events.push((event, was_there));
                }
            }
            Step::Begin { key: place } => {
                let upload = Upload {
                    id: ContentId::from_bytes(id(self.next())),
                    path: path(&key(place)),
                    meta: ObjectMeta::default(),
                    created_ms: DAY_MS,
                };
                assert!(store.begin_upload(&upload).await.unwrap());
                self.uploads.push((upload, BTreeMap::new()));
            }
            Step::Part { upload, number } => {
                let new = part(number, self.next());
                let count = self.uploads.len();
                let Some((upload, parts)) = self.uploads.get_mut(upload % count.max(1)) else {
                    return;
                };
                assert!(store.put_part(&upload.path, upload.id, &new).await.unwrap());
                self.written.insert(new.blob);
                parts.insert(number, new);
            }
            Step::Complete { upload } => self.complete(store, upload).await,
            Step::Abort { upload } => {
                if self.uploads.is_empty() {
                    return;
                }
                let (upload, _) = self.uploads.remove(upload % self.uploads.len());
                assert!(store.abort_upload(&upload.path, upload.id, DAY_MS).await.unwrap());
            }
        }
    }

    async fn put(&mut self, store: &Store, key: String, condition: usize) {
        let number = self.next();
        let is_there = self.objects.contains_key(&key);
        let (condition, holds) = match condition {
            0 => (Condition::Absent, !is_there),
            1 => (Condition::Present, is_there),
            2 => (Condition::Etag("etag-0".to_owned()), false),
            _ => (Condition::None, true),
        };
        let follows = self.event();
        let done = put(store, &key, number, condition, std::slice::from_ref(&follows)).await;
        assert_eq!(done == Changed::Done, holds);
        self.events.push((follows, holds));
        if holds {
            self.written.insert(blob(number).id);
            let content = ContentId::from_bytes(id(number));
            self.objects.insert(key, (content, vec![blob(number).id]));
        }
    }

    async fn complete(&mut self, store: &Store, upload: usize) {
        if self.uploads.is_empty() {
            return;
        }
        let (upload, parts) = self.uploads.remove(upload % self.uploads.len());
        let parts: Vec<StoredPart> = parts.into_values().collect();
        let whole = StoredObject {
            content: upload.id,
            bytes: parts.iter().map(|part| part.bytes).sum(),
            ..object(1, "whole")
        };
        let follows = self.event();
        let ended = store
            .complete_upload(
                &upload.path,
                &whole,
                &parts,
                &Condition::None,
                std::slice::from_ref(&follows),
            )
            .await;
        assert_eq!(ended.unwrap(), Completion::Done);
        self.events.push((follows, true));
        let blobs = parts.iter().map(|part| part.blob).collect();
        self.objects.insert(upload.path.key, (upload.id, blobs));
    }

    /// All that is there is what should be, and no file is both wanted and given up, or neither.
    async fn check(&self, store: &Store) {
        let found = store
            .list_objects(&default(), &photos(), b"", AFTER_ALL, 1_000)
            .await
            .unwrap();
        let keys: Vec<&String> = found.iter().map(|object| &object.key).collect();
        assert_eq!(keys, self.objects.keys().collect::<Vec<_>>());
        let mut wanted = BTreeSet::new();
        for (key, (content, blobs)) in &self.objects {
            assert_eq!(store.object(&path(key)).await.unwrap().unwrap().content, *content);
            let found: Vec<BlobId> = store
                .blobs_of(*content)
                .await
                .unwrap()
                .iter()
                .map(|blob| blob.id)
                .collect();
            assert_eq!(&found, blobs);
            wanted.extend(found);
        }
        for (upload, parts) in &self.uploads {
            let there = store.parts(upload.id, 0, 100).await.unwrap();
            assert_eq!(there, parts.values().cloned().collect::<Vec<_>>());
            wanted.extend(there.iter().map(|part| part.blob));
        }
        let given_up = gone(store).await;
        assert!(wanted.is_disjoint(&given_up));
        assert_eq!(&wanted | &given_up, self.written);
        for (event, follows) in &self.events {
            assert_eq!(is_there(store, event).await, *follows);
        }
    }
}

pub(crate) async fn objects_do_as_their_model(bed: Bed) {
    make_bucket(&bed).await;
    let mut runner = TestRunner::new(Config::default());
    let mut model = Model::default();
    for _ in 0..12 {
        let steps = vec(step(), 25).new_tree(&mut runner).unwrap().current();
        for step in steps {
            model.take(&bed.store, step).await;
        }
        model.check(&bed.store).await;
    }
}
