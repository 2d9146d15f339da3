//! Following the records of a kind: list, watch, and list again whenever the watch ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use stead_model::Error;
use stead_model::port::{Change, Key, Revision};
use stead_model::record::{Decoded, Record};
use stead_model::registry::Registry;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::jitter;

/// How long to wait at most before a store that does not answer is asked again.
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// What a follower is told.
#[derive(Debug)]
pub(crate) enum Seen<R> {
    /// These are all.
    Listed(Vec<R>),
    /// This one was created or changed.
    Put(R),
    /// The one under this key was deleted.
    Deleted(Key),
}

/// Tells `out` about the records of a kind until nobody listens any more. Everything is listed anew
/// after an outage, when `again` says so, and now and then in case a watch has died unnoticed.
pub(crate) async fn follow<R: Record>(
    registry: Registry,
    out: mpsc::Sender<Seen<R>>,
    again: Arc<Notify>,
    every: Duration,
) {
    let mut failures = 0;
    while !out.is_closed() {
        match follow_once(&registry, &out, &again, every, &mut failures).await {
            Ok(()) => failures = 0,
            Err(error) => {
                tracing::warn!(
                    kind = R::KIND,
                    failures,
                    error = error.chain(),
                    "cannot follow the identity store"
                );
                let ceiling = Duration::from_millis(50) * 2u32.pow(failures.min(7));
                let wait = jitter::between(ceiling.min(BACK_OFF_MAX), 0.5, 1.0);
                failures = failures.saturating_add(1);
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = out.closed() => {}
                }
            }
        }
    }
}

/// One watch and one list; ends without an error when it is time to list again.
async fn follow_once<R: Record>(
    registry: &Registry,
    out: &mpsc::Sender<Seen<R>>,
    again: &Notify,
    every: Duration,
    failures: &mut u32,
) -> Result<(), Error> {
    // Watching first: whatever happens after the list is seen.
    let mut changes = registry.store().watch(&format!("{}/", R::KIND)).await?;
    let listed = registry.list_all::<R>().await?;
    let mut known: HashMap<Key, Revision> =
        listed.iter().map(|stored| (stored.decoded.record.key(), stored.revision)).collect();
    let records = listed.into_iter().map(|stored| stored.decoded.record).collect();
    *failures = 0;
    if out.send(Seen::Listed(records)).await.is_err() {
        return Ok(());
    }
    let relist = Instant::now() + jitter::between(every, 0.8, 1.2);
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = again.notified() => return Ok(()),
            () = tokio::time::sleep_until(relist) => return Ok(()),
            () = out.closed() => return Ok(()),
        };
        let seen = match change {
            None => return Err(Error::unavailable("the watch ended")),
            Some(Err(error)) => return Err(error),
            Some(Ok(Change::Deleted(key))) => {
                known.remove(&key);
                Seen::Deleted(key)
            }
            Some(Ok(Change::Put(entry))) => {
                // What the list already told is not told again, lest an answer go back in time.
                if known.get(&entry.key).is_some_and(|at| *at >= entry.revision) {
                    continue;
                }
                known.insert(entry.key, entry.revision);
                Seen::Put(Decoded::<R>::decode(&entry.value)?.record)
            }
        };
        if out.send(seen).await.is_err() {
            return Ok(());
        }
    }
}
