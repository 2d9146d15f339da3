//! `MemoryStore`: an [`IdentityStore`] in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Change, Changes, Entry, IdentityStore, Key, Page, Revision, check_value};
use crate::{Error, Result};

/// How far a watcher may fall behind before it has to list anew.
const BACKLOG: usize = 4096;

/// An identity store that forgets everything when it is dropped, and that can be made unreachable.
///
/// A test tool: it keeps the whole contract of [`IdentityStore`] but for surviving a crash.
#[derive(Debug)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    entries: BTreeMap<Key, (Bytes, Revision)>,
    last: u64,
    reachable: bool,
    /// Replaced when the store becomes unreachable, which ends every watch.
    changes: broadcast::Sender<Change>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        let changes = broadcast::Sender::new(BACKLOG);
        let inner = Inner { entries: BTreeMap::new(), last: 0, reachable: true, changes };
        Self { inner: Mutex::new(inner) }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the store reachable or not. While it is not, every call is
    /// [`Kind::Unavailable`](crate::Kind) and has no effect; watches end when that begins.
    pub fn set_reachable(&self, reachable: bool) {
        let mut inner = self.lock();
        inner.reachable = reachable;
        if !reachable {
            inner.changes = broadcast::Sender::new(BACKLOG);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics between two writes of one change, so a poisoned lock still guards a whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self) -> Result<MutexGuard<'_, Inner>> {
        let inner = self.lock();
        if inner.reachable { Ok(inner) } else { Err(gone()) }
    }
}

impl Inner {
    fn put(&mut self, key: &Key, value: Bytes) -> Revision {
        self.last += 1;
        let revision = Revision(self.last);
        self.entries.insert(key.clone(), (value.clone(), revision));
        let _ = self.changes.send(Change::Put(Entry { key: key.clone(), value, revision }));
        revision
    }

    fn revision(&self, key: &Key) -> Option<Revision> {
        self.entries.get(key).map(|(_, revision)| *revision)
    }
}

fn gone() -> Error {
    Error::unavailable("the store cannot be reached")
}

fn changed(key: &Key) -> Error {
    Error::conflict(format!("'{key}' has changed since it was read"))
}

fn entry((key, (value, revision)): (&Key, &(Bytes, Revision))) -> Entry {
    Entry { key: key.clone(), value: value.clone(), revision: *revision }
}

#[async_trait]
impl IdentityStore for MemoryStore {
    async fn create(&self, key: &Key, value: Bytes) -> Result<Revision> {
        check_value(&value)?;
        let mut inner = self.reach()?;
        if inner.entries.contains_key(key) {
            return Err(Error::already_exists(format!("'{key}' exists already")));
        }
        Ok(inner.put(key, value))
    }

    async fn update(&self, key: &Key, value: Bytes, at: Revision) -> Result<Revision> {
        check_value(&value)?;
        let mut inner = self.reach()?;
        if inner.revision(key) != Some(at) {
            return Err(changed(key));
        }
        Ok(inner.put(key, value))
    }

    async fn delete(&self, key: &Key, at: Revision) -> Result<()> {
        let mut inner = self.reach()?;
        match inner.revision(key) {
            None => Ok(()),
            Some(revision) if revision == at => {
                inner.entries.remove(key);
                let _ = inner.changes.send(Change::Deleted(key.clone()));
                Ok(())
            }
            Some(_) => Err(changed(key)),
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let inner = self.reach()?;
        Ok(inner.entries.get_key_value(key).map(entry))
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Vec<Entry>> {
        let inner = self.reach()?;
        let behind = |key: &Key| page.after.as_ref().is_none_or(|after| key > after);
        let below = inner.entries.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
        Ok(below.filter(|(key, _)| behind(key)).take(page.entries_max()).map(entry).collect())
    }

    async fn watch(&self, prefix: &str) -> Result<Changes> {
        let receiver = self.reach()?.changes.subscribe();
        let prefix = prefix.to_owned();
        let changes = stream::unfold(Some(receiver), |receiver| async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Ok(change) => Some((Ok(change), Some(receiver))),
                Err(RecvError::Lagged(missed)) => {
                    let why = format!("the watch fell behind by {missed} changes: list anew");
                    Some((Err(Error::unavailable(why)), None))
                }
                Err(RecvError::Closed) => Some((Err(gone()), None)),
            }
        });
        let wanted = move |change: &Result<Change>| {
            let key = match change {
                Ok(Change::Put(entry)) => &entry.key,
                Ok(Change::Deleted(key)) => key,
                Err(_) => return true,
            };
            key.as_str().starts_with(&prefix)
        };
        Ok(changes.filter(move |change| futures::future::ready(wanted(change))).boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[tokio::test]
    async fn it_keeps_the_contract() {
        crate::port::contract::store::all(async || MemoryStore::new()).await;
    }

    #[tokio::test]
    async fn an_outage_ends_the_watches_and_loses_nothing() {
        let store = MemoryStore::new();
        let key = Key::new("a", &["b"]);
        let mut changes = store.watch("a/").await.unwrap();
        let at = store.create(&key, Bytes::from_static(b"1")).await.unwrap();
        assert!(
            matches!(changes.next().await, Some(Ok(Change::Put(entry))) if entry.revision == at)
        );
        store.set_reachable(false);
        assert_eq!(store.get(&key).await.unwrap_err().kind(), Kind::Unavailable);
        assert!(changes.next().await.unwrap().is_err());
        assert!(changes.next().await.is_none());
        store.set_reachable(true);
        assert_eq!(store.get(&key).await.unwrap().unwrap().revision, at);
    }

    #[tokio::test]
    async fn a_revision_is_not_given_twice() {
        let store = MemoryStore::new();
        let key = Key::new("a", &["b"]);
        let first = store.create(&key, Bytes::new()).await.unwrap();
        store.delete(&key, first).await.unwrap();
        let second = store.create(&key, Bytes::new()).await.unwrap();
        assert!(second > first);
        assert_eq!(store.delete(&key, first).await.unwrap_err().kind(), Kind::Conflict);
    }
}
