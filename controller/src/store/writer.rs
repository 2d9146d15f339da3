//! The one writer: it drains the queue into one durable transaction, so that a thousand concurrent
//! writes cost a few flushes of the disk and not a thousand.

use std::sync::{Arc, Mutex, PoisonError};

use redb::Database;
use stead_model::port::{Change, Revision};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::engine::Engine;
use super::error::{Result, StoreError};
use super::table::{self, Outcome, Write};

/// The most writes in one transaction.
const BATCH_WRITES_MAX: usize = 256;

/// The most changes that a watch may fall behind.
const CHANGES_MAX: usize = 4096;

/// A write and who waits for it.
pub(crate) struct Job {
    /// The write.
    pub(crate) write: Write,
    /// Who is told once it is durable.
    pub(crate) answer: oneshot::Sender<Result<Revision>>,
}

/// The committed changes, for those who watch.
pub(crate) struct Feed(Mutex<broadcast::Sender<Change>>);

impl Feed {
    /// A feed without readers.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(broadcast::channel(CHANGES_MAX).0))
    }

    /// Every change from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).subscribe()
    }

    fn send(&self, change: Change) {
        // An error means that nobody watches.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(change);
    }

    /// Ends every watch: a change may have been missed.
    fn cut(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = broadcast::channel(CHANGES_MAX).0;
    }
}

/// Writes until nobody can send any more.
pub(crate) fn run(engine: &Engine, feed: &Arc<Feed>, mut jobs: mpsc::Receiver<Job>) {
    let mut batch = Vec::new();
    while let Some(job) = jobs.blocking_recv() {
        batch.push(job);
        while batch.len() < BATCH_WRITES_MAX
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
        let (writes, answers): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|job| (job.write, job.answer)).unzip();
        match engine.run(|database| commit(database, &writes)) {
            Ok(outcomes) => {
                for (outcome, answer) in outcomes.into_iter().zip(answers) {
                    let _ = answer.send(told(feed, outcome)); // Its asker may have gone.
                }
            }
            Err(error) => {
                // It may have been committed all the same, and then nobody was told of the changes.
                feed.cut();
                fail(engine, error, answers);
            }
        }
    }
}

fn commit(database: &Database, writes: &[Write]) -> Result<Vec<Outcome>, redb::Error> {
    let transaction = database.begin_write()?;
    let outcomes = writes
        .iter()
        .map(|write| table::apply(&transaction, write.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    transaction.commit()?;
    Ok(outcomes)
}

fn told(feed: &Feed, outcome: Outcome) -> Result<Revision> {
    match outcome {
        Outcome::Done(revision, change) => {
            if let Some(change) = change {
                feed.send(change);
            }
            Ok(revision)
        }
        Outcome::Exists(key) => Err(StoreError::Exists(key)),
        Outcome::Changed(key) => Err(StoreError::Changed(key)),
    }
}

/// Tells the first of the batch the error itself, and the others one with its sentence.
fn fail(engine: &Engine, error: StoreError, answers: Vec<oneshot::Sender<Result<Revision>>>) {
    let full = matches!(error, StoreError::NoSpace { .. });
    let sentence = error.to_string();
    tracing::error!(store = %engine.path().display(), %error, "a batch of writes failed");
    let mut first = Some(error);
    for answer in answers {
        let error = first.take().unwrap_or_else(|| {
            let path = engine.path().to_owned();
            let source = std::io::Error::other(sentence.clone());
            match full {
                true => StoreError::NoSpace { path, source },
                false => StoreError::Failed { path, source: redb::Error::Io(source) },
            }
        });
        let _ = answer.send(Err(error)); // Its asker may have gone.
    }
}
