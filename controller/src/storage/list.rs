//! Pages of a bucket's keys, in the order of their bytes; with a delimiter, what is below the same folder counts as one.

use super::error::StorageError;
use super::{Scope, Storage};
use crate::store::{ContentId, ListedObject, ListedUpload};

/// Keys that are looked up at once: most of them after a folder may be in it, and of no use.
const ROWS_MIN: u32 = 8;
const ROWS_MAX: u32 = 1_000;
/// Greater than the bytes of any text.
const AFTER_ALL: &[u8] = &[0xff];

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    pub(crate) prefix: String,
    pub(crate) delimiter: Option<String>,
    /// Where it begins: a key, or where the page before it has ended.
    pub(crate) from: Vec<u8>,
    /// Objects and folders, at most.
    pub(crate) most: usize,
}

/// What is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) objects: Vec<ListedObject>,
    /// What keys begin with, up to and with the delimiter.
    pub(crate) folders: Vec<String>,
    /// Where the next page begins; `None` if this is the last one.
    pub(crate) next: Option<Vec<u8>>,
}

impl Page {
    /// Begins after what the client has seen last: a key, or a folder with all that is in it.
    pub(crate) fn begin_after(&mut self, seen: &str) {
        let delimiter = self.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
        let is_folder = delimiter.is_some_and(|delimiter| folder_of(seen, &self.prefix, delimiter) == Some(seen));
        self.from = if is_folder {
            after_all_with(seen.as_bytes())
        } else {
            [seen.as_bytes(), &[0]].concat()
        };
    }
}

impl Storage {
    /// A page of the bucket's keys.
    pub(crate) async fn list(&self, scope: &Scope, page: &Page) -> Result<Listed, StorageError> {
        self.bucket_is_there(scope).await?;
        let mut listing = Listing::new(page);
        loop {
            let (from, before) = (&listing.from, &listing.before);
            let found = self
                .store
                .list_objects(&scope.namespace, &scope.bucket, from, before, listing.rows)
                .await?;
            if listing.take(found) {
                return Ok(listing.listed);
            }
        }
    }

    /// Up to `limit` uploads to keys with this beginning, which follow `after`; and whether there are more.
    pub(super) async fn uploads(
        &self,
        scope: &Scope,
        prefix: &str,
        after: (&str, ContentId),
        limit: u32,
    ) -> Result<(Vec<ListedUpload>, bool), StorageError> {
        self.bucket_is_there(scope).await?;
        let before = after_all_with(prefix.as_bytes());
        let after = (after.0.as_bytes(), after.1);
        let found = self
            .store
            .uploads(
                &scope.namespace,
                &scope.bucket,
                after,
                (prefix.as_bytes(), &before),
                limit + 1,
            )
            .await?;
        let is_more = found.len() > limit as usize;
        Ok((found, is_more))
    }
}

/// A page that is being made.
struct Listing<'a> {
    page: &'a Page,
    /// The keys that are to be looked at next are from here on,
    from: Vec<u8>,
    /// and before here.
    before: Vec<u8>,
    /// So many of them.
    rows: u32,
    listed: Listed,
}

impl<'a> Listing<'a> {
    fn new(page: &'a Page) -> Self {
        Self {
            page,
            from: page.from.clone().max(page.prefix.clone().into_bytes()),
            before: after_all_with(page.prefix.as_bytes()),
            // One more tells whether there is another page.
            rows: u32::try_from(page.most + 1)
                .unwrap_or(ROWS_MAX)
                .clamp(ROWS_MIN, ROWS_MAX),
            listed: Listed::default(),
        }
    }

    /// Takes the next objects, as many as were looked up or those that are left; `true` when the page is done.
    fn take(&mut self, found: Vec<ListedObject>) -> bool {
        let delimiter = self.page.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
        let is_last = found.len() < self.rows as usize;
        let mut in_vain = false;
        for object in found {
            // It is in a folder that was listed.
            if object.key.as_bytes() < &self.from[..] {
                in_vain = true;
                continue;
            }
            if self.listed.objects.len() + self.listed.folders.len() >= self.page.most {
                self.listed.next = Some(self.from.clone());
                return true;
            }
            let folder = delimiter.and_then(|delimiter| folder_of(&object.key, &self.page.prefix, delimiter));
            match folder {
                Some(folder) => {
                    self.from = after_all_with(folder.as_bytes());
                    self.listed.folders.push(folder.to_owned());
                }
                None => {
                    self.from = [object.key.as_bytes(), &[0]].concat();
                    self.listed.objects.push(object);
                }
            }
        }
        self.rows = if in_vain {
            ROWS_MIN
        } else {
            (self.rows * 2).min(ROWS_MAX)
        };
        is_last
    }
}

/// Up to and with the first delimiter behind the prefix.
fn folder_of<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    let rest = key.strip_prefix(prefix)?;
    let end = prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.get(..end)
}

/// The first bytes that no text with this beginning comes after.
fn after_all_with(beginning: &[u8]) -> Vec<u8> {
    match beginning.split_last() {
        // Bytes of text are below 0xff.
        Some((last, rest)) => [rest, &[last + 1]].concat(),
        None => AFTER_ALL.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn rows(keys: &BTreeSet<String>, from: &[u8], before: &[u8], limit: usize) -> Vec<ListedObject> {
        let wanted = |key: &&String| key.as_bytes() >= from && key.as_bytes() < before;
        let object = |key: &String| ListedObject {
            key: key.clone(),
            bytes: 0,
            etag: String::new(),
            modified_ms: 0,
        };
        keys.iter().filter(wanted).map(object).take(limit).collect()
    }

    /// All pages, as (keys, folders).
    fn pages(keys: &BTreeSet<String>, page: &Page) -> (Vec<String>, Vec<String>) {
        let (mut page, mut objects, mut folders) = (page.clone(), Vec::new(), Vec::new());
        loop {
            let mut listing = Listing::new(&page);
            while !listing.take(rows(keys, &listing.from, &listing.before, listing.rows as usize)) {}
            let listed = listing.listed;
            assert!(listed.objects.len() + listed.folders.len() <= page.most);
            objects.extend(listed.objects.into_iter().map(|object| object.key));
            folders.extend(listed.folders);
            let Some(next) = listed.next else {
                return (objects, folders);
            };
            assert!(next > page.from, "each page goes on");
            page.from = next;
        }
    }

    /// The same, said without pages.
    fn expected(keys: &BTreeSet<String>, prefix: &str, delimiter: Option<&str>) -> (Vec<String>, Vec<String>) {
        let (mut objects, mut folders) = (Vec::new(), BTreeSet::new());
        for key in keys.iter().filter(|key| key.starts_with(prefix)) {
            match delimiter.and_then(|delimiter| {
                key[prefix.len()..]
                    .split_once(delimiter)
                    .map(|(name, _)| (name, delimiter))
            }) {
                Some((name, delimiter)) => {
                    folders.insert(format!("{prefix}{name}{delimiter}"));
                }
                None => objects.push(key.clone()),
            }
        }
        (objects, folders.into_iter().collect())
    }

    proptest! {
        #[test]
        fn pages_together_are_all_that_is_there(
            keys in proptest::collection::btree_set("[ab/\u{e4}]{1,5}", 0..40),
            prefix in "[ab/]{0,2}",
            delimiter in proptest::option::of("[/b]{1,2}"),
            most in 1_usize..5,
        ) {
            let page = Page { prefix: prefix.clone(), delimiter: delimiter.clone(), from: Vec::new(), most };
            prop_assert_eq!(pages(&keys, &page), expected(&keys, &prefix, delimiter.as_deref()));
        }

        #[test]
        fn a_page_that_begins_after_something_goes_on_there(
            keys in proptest::collection::btree_set("[ab/]{1,4}", 1..30),
            place in any::<proptest::sample::Index>(),
        ) {
            let (objects, folders) = expected(&keys, "", Some("/"));
            let mut all: Vec<String> = objects.into_iter().chain(folders).collect();
            all.sort();
            let seen = place.index(all.len());
            let mut page = Page { delimiter: Some("/".to_owned()), most: 3, ..Page::default() };
            page.begin_after(&all[seen]);
            let (objects, folders) = pages(&keys, &page);
            let mut rest: Vec<String> = objects.into_iter().chain(folders).collect();
            rest.sort();
            prop_assert_eq!(&rest[..], &all[seen + 1..]);
        }
    }

    #[test]
    fn a_folder_of_more_keys_than_are_looked_up_at_once_is_one() {
        let mut keys: BTreeSet<String> = (0..2_500).map(|number| format!("full/{number}")).collect();
        keys.insert("last".to_owned());
        let page = Page {
            delimiter: Some("/".to_owned()),
            most: 10,
            ..Page::default()
        };
        assert_eq!(pages(&keys, &page), (vec!["last".to_owned()], vec!["full/".to_owned()]));
    }
}
