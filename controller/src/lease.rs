//! The controller's view of the node leases, kept by watching them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use stead_model::Result;
use stead_model::clock::Clock;
use stead_model::hold::{Holder, Standing};
use stead_model::lease::Observer;
use stead_model::name::{Epoch, NodeId};
use stead_model::record::{self, NodeLease};
use stead_model::registry::{Registry, Update};
use tokio_util::sync::CancellationToken;

/// How long to wait before watching again after the watch broke.
const WATCH_PAUSE: Duration = Duration::from_millis(500);

/// Observes node leases by this process's own clock.
#[derive(Clone)]
pub(crate) struct Leases {
    registry: Registry,
    clock: Arc<dyn Clock>,
    observer: Arc<Mutex<Observer>>,
}

impl Leases {
    pub(crate) fn new(registry: Registry, clock: Arc<dyn Clock>, grace: Duration) -> Self {
        Self { registry, clock, observer: Arc::new(Mutex::new(Observer::new(grace))) }
    }

    /// Watches until cancelled. A broken watch is begun anew: leases seen late only seem to live
    /// longer, which delays a takeover and never hastens one.
    pub(crate) async fn run(&self, cancel: CancellationToken) {
        loop {
            let watched = cancel.run_until_cancelled(self.watch()).await;
            let Some(ended) = watched else { return };
            if let Err(error) = ended {
                tracing::warn!(error = error.chain(), "the watch of node leases broke");
            }
            if cancel.run_until_cancelled(tokio::time::sleep(WATCH_PAUSE)).await.is_none() {
                return;
            }
        }
    }

    async fn watch(&self) -> Result<()> {
        let mut updates = Box::pin(self.registry.watch::<NodeLease>().await?);
        for lease in self.registry.list_all::<NodeLease>().await? {
            self.observe(&lease);
        }
        while let Some(update) = updates.next().await {
            if let Update::Put(lease) = update? {
                self.observe(&lease);
            }
        }
        Ok(())
    }

    /// The node's lease as it is now; nothing where the node never registered.
    pub(crate) async fn read(&self, node: &NodeId) -> Result<Option<NodeLease>> {
        let lease = self.registry.get::<NodeLease>(&record::node_key(node)).await?;
        let lease = lease.map(|stored| stored.decoded.record);
        if let Some(lease) = &lease {
            self.observe(lease);
        }
        Ok(lease)
    }

    /// How a node's lease of an epoch stands.
    pub(crate) fn standing(&self, node: &NodeId, epoch: Epoch) -> Standing {
        self.lock().standing(node, epoch, self.clock.now())
    }

    /// How a holder's lease stands. A free hold has no holder that could object.
    pub(crate) fn standing_of(&self, holder: Option<&Holder>) -> Standing {
        holder.map_or(Standing::Over, |holder| self.standing(&holder.node, holder.epoch))
    }

    fn observe(&self, lease: &NodeLease) {
        self.lock().observe(lease, self.clock.now());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Observer> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
