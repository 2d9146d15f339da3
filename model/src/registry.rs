//! Typed access to an [`IdentityStore`]: records in, records out, compare-and-swap in one place.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use crate::port::{Change, IdentityStore, Key, Page, Revision};
use crate::record::{Decoded, Record};
use crate::{Error, Kind, Result};

/// How often [`Registry::change`] starts over when others write the same record.
const ATTEMPTS_MAX: u32 = 16;

/// A record as it stands in the store.
#[derive(Debug, Clone)]
pub struct Stored<R> {
    /// The record and what this version does not understand of it.
    pub decoded: Decoded<R>,
    /// The revision to name when changing it.
    pub revision: Revision,
}

impl<R> std::ops::Deref for Stored<R> {
    type Target = R;
    fn deref(&self) -> &R {
        &self.decoded.record
    }
}

/// The store, seen as records.
#[derive(Clone)]
pub struct Registry {
    store: Arc<dyn IdentityStore>,
}

impl Registry {
    /// A view of this store.
    pub fn new(store: Arc<dyn IdentityStore>) -> Self {
        Self { store }
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<dyn IdentityStore> {
        &self.store
    }

    /// The record under this key.
    pub async fn get<R: Record>(&self, key: &Key) -> Result<Option<Stored<R>>> {
        let Some(entry) = self.store.get(key).await? else { return Ok(None) };
        let decoded = Decoded::decode(&entry.value)?;
        Ok(Some(Stored { decoded, revision: entry.revision }))
    }

    /// The record under this key; [`Kind::NotFound`] names it where it is absent.
    pub async fn require<R: Record>(&self, key: &Key) -> Result<Stored<R>> {
        self.get(key).await?.ok_or_else(|| {
            let name = key.as_str().trim_start_matches(R::KIND).trim_start_matches('/');
            Error::not_found(format!("there is no {} '{name}'", R::KIND))
        })
    }

    /// Stores a new record; [`Kind::AlreadyExists`] where its key is taken.
    pub async fn create<R: Record>(&self, record: R) -> Result<Stored<R>> {
        let decoded = Decoded::new(record);
        let revision = self.store.create(&decoded.record.key(), decoded.encode()?).await?;
        Ok(Stored { decoded, revision })
    }

    /// The record that stands under the key of `record`, which is stored where there was none.
    pub async fn get_or_create<R: Record>(&self, record: R) -> Result<Stored<R>> {
        let key = record.key();
        if let Some(stored) = self.get(&key).await? {
            return Ok(stored);
        }
        match self.create(record).await {
            Err(error) if error.kind() == Kind::AlreadyExists => self.require(&key).await,
            result => result,
        }
    }

    /// Replaces a record; [`Kind::Conflict`] where it has changed since it was read.
    pub async fn update<R: Record>(&self, stored: Stored<R>, record: R) -> Result<Stored<R>> {
        let mut decoded = stored.decoded;
        decoded.record = record;
        let key = decoded.record.key();
        let revision = self.store.update(&key, decoded.encode()?, stored.revision).await?;
        Ok(Stored { decoded, revision })
    }

    /// Changes a record by compare-and-swap, starting over while others get in between. `edit` sees
    /// the record as it stands and may refuse; an edit that changes nothing writes nothing.
    pub async fn change<R: Record + PartialEq>(
        &self,
        key: &Key,
        mut edit: impl FnMut(&mut R) -> Result<()> + Send,
    ) -> Result<Stored<R>> {
        for attempt in 0..ATTEMPTS_MAX {
            let stored = self.require::<R>(key).await?;
            let mut record = stored.decoded.record.clone();
            edit(&mut record)?;
            if record == stored.decoded.record {
                return Ok(stored);
            }
            match self.update(stored, record).await {
                Err(error) if error.kind() == Kind::Conflict => back_off(attempt).await,
                result => return result,
            }
        }
        Err(contended(key))
    }

    /// Deletes a record as it was read; absent is success, changed is [`Kind::Conflict`].
    pub async fn remove<R: Record>(&self, stored: &Stored<R>) -> Result<()> {
        self.store.delete(&stored.decoded.record.key(), stored.revision).await
    }

    /// Deletes the record under this key if `wanted` says so of it as it stands, starting over while
    /// others change it. Absent is success.
    pub async fn remove_if<R: Record>(
        &self,
        key: &Key,
        mut wanted: impl FnMut(&R) -> Result<bool> + Send,
    ) -> Result<()> {
        for attempt in 0..ATTEMPTS_MAX {
            let Some(stored) = self.get::<R>(key).await? else { return Ok(()) };
            if !wanted(&stored)? {
                return Ok(());
            }
            match self.remove(&stored).await {
                Err(error) if error.kind() == Kind::Conflict => back_off(attempt).await,
                result => return result,
            }
        }
        Err(contended(key))
    }

    /// Deletes whatever stands under this key, starting over while others change it.
    pub async fn remove_key(&self, key: &Key) -> Result<()> {
        for attempt in 0..ATTEMPTS_MAX {
            let Some(entry) = self.store.get(key).await? else { return Ok(()) };
            match self.store.delete(key, entry.revision).await {
                Err(error) if error.kind() == Kind::Conflict => back_off(attempt).await,
                result => return result,
            }
        }
        Err(contended(key))
    }

    /// One page of the records of a kind, in the order of their keys.
    pub async fn list<R: Record>(&self, page: Page) -> Result<Vec<Stored<R>>> {
        let entries = self.store.list(&format!("{}/", R::KIND), page).await?;
        entries
            .into_iter()
            .map(|entry| {
                Ok(Stored { decoded: Decoded::decode(&entry.value)?, revision: entry.revision })
            })
            .collect()
    }

    /// Every record of a kind; page by page, so that no answer grows without bound.
    pub async fn list_all<R: Record>(&self) -> Result<Vec<Stored<R>>> {
        let mut all: Vec<Stored<R>> = Vec::new();
        loop {
            let after = all.last().map(|stored| stored.decoded.record.key());
            let page = Page { after, limit: 0 };
            let full = page.entries_max();
            let records = self.list(page).await?;
            let last = records.len() < full;
            all.extend(records);
            if last {
                return Ok(all);
            }
        }
    }

    /// Changes of the records of a kind: the record, or the key of one that was deleted.
    pub async fn watch<R: Record>(
        &self,
    ) -> Result<impl futures::Stream<Item = Result<Update<R>>> + Send + use<R>> {
        use futures::StreamExt;
        let changes = self.store.watch(&format!("{}/", R::KIND)).await?;
        Ok(changes.map(|change| match change? {
            Change::Put(entry) => Ok(Update::Put(Decoded::<R>::decode(&entry.value)?.record)),
            Change::Deleted(key) => Ok(Update::Deleted(key)),
        }))
    }
}

/// One change of a record.
#[derive(Debug, Clone)]
pub enum Update<R> {
    /// It was created or changed.
    Put(R),
    /// The record under this key was deleted.
    Deleted(Key),
}

fn contended(key: &Key) -> Error {
    Error::conflict(format!("others keep changing '{key}': gave up after {ATTEMPTS_MAX} tries"))
}

/// Waits a little longer with each attempt, and never exactly as long as the competitor.
async fn back_off(attempt: u32) {
    let ceiling = 1u64 << attempt.min(6);
    let wait = rand::rng().random_range(0..=ceiling);
    tokio::time::sleep(Duration::from_millis(wait)).await;
}
