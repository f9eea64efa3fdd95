//! Buckets, their keys and their objects.

use serde::{Deserialize, Serialize};

/// A bucket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) created_at: String,
    /// How many are in it, of one that is shown alone; so are the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) objects: Option<u64>,
    /// Of all objects together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// Names of the triggers that wait for its changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) triggers: Option<Vec<String>>,
}

/// What a client of S3 comes in with. Without a Debug form: it is printed where it was asked for and nowhere else.
#[derive(Serialize, Deserialize)]
pub(crate) struct BucketCredentials {
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) created_at: String,
}

/// An object, without its bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    pub(crate) etag: String,
    pub(crate) modified_at: String,
}

/// Objects and folders, in the order of their keys.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Objects {
    pub(crate) objects: Vec<Object>,
    /// What keys begin with, up to and with the delimiter.
    pub(crate) folders: Vec<String>,
}
