//! The embedded identity store: one file, one writer, every write durable before it is answered.

mod engine;
mod error;
mod table;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use stead_model::Result;
use stead_model::port::{Change, Changes, Entry, IdentityStore, Key, Page, Revision, check_value};
use tokio::sync::{broadcast, mpsc, oneshot};

pub use error::StoreError;

use engine::Engine;
use table::Write;
use writer::{Feed, Job};

/// The most writes that wait for the writer; further ones wait for their turn in the queue.
const QUEUE_WRITES_MAX: usize = 1024;

/// An identity store in a file of this host.
pub struct EmbeddedStore {
    engine: Arc<Engine>,
    feed: Arc<Feed>,
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens the store in this directory, which one process at a time may do, and checks all of it.
    pub async fn open(state_dir: impl Into<PathBuf>) -> std::result::Result<Self, StoreError> {
        let dir = state_dir.into();
        let opened = tokio::task::spawn_blocking(move || Engine::open(&dir));
        Self::start(opened.await.map_err(|_| StoreError::Closing)??)
    }

    /// An empty store that ends with the process: for tests and trials.
    pub fn in_memory() -> std::result::Result<Self, StoreError> {
        Self::start(Engine::in_memory()?)
    }

    /// The file of the store.
    pub fn path(&self) -> &Path {
        self.engine.path()
    }

    fn start(engine: Engine) -> std::result::Result<Self, StoreError> {
        let (engine, feed) = (Arc::new(engine), Arc::new(Feed::new()));
        let (jobs, queue) = mpsc::channel(QUEUE_WRITES_MAX);
        let (writes_to, feeds) = (engine.clone(), feed.clone());
        let writer = std::thread::Builder::new()
            .name("stead-store".to_owned())
            .spawn(move || writer::run(&writes_to, &feeds, queue))
            .map_err(|error| StoreError::io(engine.path().to_owned(), error))?;
        Ok(Self { engine, feed, jobs: Some(jobs), writer: Some(writer) })
    }

    async fn write(&self, write: Write) -> error::Result<Revision> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closing)?;
        jobs.send(Job { write, answer }).await.map_err(|_| StoreError::Closing)?;
        answered.await.map_err(|_| StoreError::Closing)?
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&redb::Database) -> error::Result<T, redb::Error> + Send + 'static,
    ) -> Result<T> {
        let engine = self.engine.clone();
        let read = tokio::task::spawn_blocking(move || engine.run(work));
        Ok(read.await.map_err(|_| StoreError::Closing)??)
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // The file is free for the next process once the writer has ended, which takes one flush.
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join(); // Its panic was reported when it happened.
        }
    }
}

#[async_trait]
impl IdentityStore for EmbeddedStore {
    async fn create(&self, key: &Key, value: Bytes) -> Result<Revision> {
        check_value(&value)?;
        Ok(self.write(Write::Create { key: key.clone(), value }).await?)
    }

    async fn update(&self, key: &Key, value: Bytes, at: Revision) -> Result<Revision> {
        check_value(&value)?;
        Ok(self.write(Write::Update { key: key.clone(), value, at }).await?)
    }

    async fn delete(&self, key: &Key, at: Revision) -> Result<()> {
        self.write(Write::Delete { key: key.clone(), at }).await?;
        Ok(())
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let key = key.clone();
        self.read(move |database| table::get(database, &key)).await
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Vec<Entry>> {
        let prefix = prefix.to_owned();
        self.read(move |database| table::list(database, &prefix, &page)).await
    }

    async fn watch(&self, prefix: &str) -> Result<Changes> {
        let (prefix, receiver) = (prefix.to_owned(), self.feed.subscribe());
        let changes = stream::unfold(Some(receiver), move |receiver| {
            let prefix = prefix.clone();
            async move { next(receiver?, &prefix).await }
        });
        Ok(changes.boxed())
    }
}

/// The next change below a prefix. After an error there is none.
async fn next(
    mut receiver: broadcast::Receiver<Change>,
    prefix: &str,
) -> Option<(Result<Change>, Option<broadcast::Receiver<Change>>)> {
    loop {
        match receiver.recv().await {
            Ok(change) if change.key().as_str().starts_with(prefix) => {
                return Some((Ok(change), Some(receiver)));
            }
            Ok(_) => {}
            Err(_) => return Some((Err(StoreError::Lagged.into()), None)),
        }
    }
}
