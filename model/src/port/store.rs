//! `IdentityStore`: the only authority on who is who and who holds what.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The most entries that one [`IdentityStore::list`] returns, whatever was asked for.
pub const PAGE_ENTRIES_MAX: usize = 1000;

/// The longest value, in bytes: a record is small, and a page of them has to be too.
pub const VALUE_BYTES_MAX: usize = 256 << 10;

/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// A path of segments joined by `/`, such as `volume/vol-1`; keys sort by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(String);

impl Key {
    /// The key of `kind` and the segments below it; a segment may itself contain `/`.
    pub fn new(kind: &str, segments: &[&str]) -> Self {
        let mut text = kind.to_owned();
        for segment in segments {
            text.push('/');
            text.push_str(segment);
        }
        Self(text)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > KEY_BYTES_MAX {
            return Err(Error::invalid(format!("a key has 1 to {KEY_BYTES_MAX} bytes")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// When an entry was last written: it grows with every write to that key and is never given twice,
/// not even after the key was deleted and created again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// A key, its value and the revision to name when changing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Bytes,
    /// The revision of this value.
    pub revision: Revision,
}

/// Which part of a listing is wanted.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Only keys behind this one (it need not exist any more).
    pub after: Option<Key>,
    /// How many at most; 0 and anything above [`PAGE_ENTRIES_MAX`] mean that maximum.
    pub limit: usize,
}

impl Page {
    /// The limit that holds.
    pub fn entries_max(&self) -> usize {
        match self.limit {
            0 => PAGE_ENTRIES_MAX,
            limit => limit.min(PAGE_ENTRIES_MAX),
        }
    }
}

/// One committed write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The key was created or updated.
    Put(Entry),
    /// The key was deleted.
    Deleted(Key),
}

impl Change {
    /// The key that it is about.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Deleted(key) => key,
        }
    }
}

/// The changes of a watch.
pub type Changes = BoxStream<'static, Result<Change>>;

/// Refuses a value longer than [`VALUE_BYTES_MAX`], as every store does.
pub fn check_value(value: &Bytes) -> Result<()> {
    if value.len() <= VALUE_BYTES_MAX {
        return Ok(());
    }
    let length = value.len();
    Err(Error::invalid(format!("the value has {length} bytes: {VALUE_BYTES_MAX} are allowed")))
}

/// Small records with compare-and-swap.
///
/// - A value has at most [`VALUE_BYTES_MAX`] bytes; a longer one is [`Kind::Invalid`](crate::Kind).
/// - A read that begins after a write returned sees that write (strong consistency).
/// - A write either happened whole or not at all; one that was answered survives a crash.
/// - A write whose answer was lost may have happened: the caller reads again before it decides.
#[async_trait]
pub trait IdentityStore: Send + Sync {
    /// Writes `value` if `key` is absent; otherwise [`Kind::AlreadyExists`](crate::Kind) and no effect.
    async fn create(&self, key: &Key, value: Bytes) -> Result<Revision>;

    /// Replaces the value if it still has the revision `at`; otherwise [`Kind::Conflict`](crate::Kind)
    /// (also where the key is gone) and no effect.
    async fn update(&self, key: &Key, value: Bytes, at: Revision) -> Result<Revision>;

    /// Deletes the key if it still has the revision `at`. Deleting an absent key succeeds; a key
    /// with another revision is a [`Kind::Conflict`](crate::Kind).
    async fn delete(&self, key: &Key, at: Revision) -> Result<()>;

    /// The entry, or nothing where the key is absent.
    async fn get(&self, key: &Key) -> Result<Option<Entry>>;

    /// The entries whose key begins with `prefix`, in the order of their keys, one page of them.
    /// A page with fewer entries than [`Page::entries_max`] is the last.
    async fn list(&self, prefix: &str, page: Page) -> Result<Vec<Entry>>;

    /// Every change below `prefix` that is committed after this call returned, in order. A reader that
    /// falls behind, or whose store went away, gets one [`Kind::Unavailable`](crate::Kind) and the
    /// end of the stream: it watches and lists anew.
    async fn watch(&self, prefix: &str) -> Result<Changes>;
}

#[cfg(any(test, feature = "contract"))]
pub mod contract;
