//! The controller's view of the node leases, kept by watching them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use stead_model::Result;
use stead_model::clock::Clock;
use stead_model::hold::{Holder, Standing};
use stead_model::lease::{Observer, TTL_DEFAULT};
use stead_model::name::{Epoch, NodeId};
use stead_model::port::Key;
use stead_model::record::{self, NodeLease, Record};
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

/// Whose lease was read, and when.
#[derive(Debug)]
pub(crate) struct Look {
    node: Option<NodeId>,
    at: Duration,
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
            match update? {
                Update::Put(lease) => self.observe(&lease),
                Update::Deleted(key) => self.forget(&key),
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

    /// Reads the lease of a holder, to judge by it whether the hold may be taken over.
    pub(crate) async fn look(&self, holder: Option<&Holder>) -> Result<Look> {
        // Before it is read: time that passes afterwards proves nothing against a node that may have
        // renewed meanwhile.
        let at = self.clock.now();
        if let Some(holder) = holder {
            self.read(&holder.node).await?;
        }
        Ok(Look { node: holder.map(|holder| holder.node.clone()), at })
    }

    /// How a holder's lease stood at that look. A free hold has no holder that could object; one that
    /// was not looked at is taken for live.
    pub(crate) fn standing_at(&self, look: &Look, holder: Option<&Holder>) -> Standing {
        let Some(holder) = holder else { return Standing::Over };
        if look.node.as_ref() != Some(&holder.node) {
            return Standing::Live(TTL_DEFAULT);
        }
        self.lock().standing(&holder.node, holder.epoch, look.at)
    }

    fn forget(&self, key: &Key) {
        let name = key.as_str().trim_start_matches(NodeLease::KIND).trim_start_matches('/');
        if let Ok(node) = name.parse() {
            self.lock().forget(&node);
        }
    }

    fn observe(&self, lease: &NodeLease) {
        self.lock().observe(lease, self.clock.now());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Observer> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use stead_model::port::MemoryStore;

    use super::*;

    /// A clock that is put forward by hand.
    struct Hands(Mutex<Duration>);

    impl Clock for Hands {
        fn now(&self) -> Duration {
            *self.0.lock().unwrap()
        }

        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
    }

    fn holder(node: &str) -> Holder {
        let volumes = BTreeMap::new();
        Holder { node: node.parse().unwrap(), epoch: Epoch(1), volumes }
    }

    /// A look at the lease of node `a`, which was renewed so long before it; then an hour passes, in
    /// which the node may renew unseen.
    async fn an_hour_after_a_look(since_renewal: Duration) -> (Leases, Look) {
        let registry = Registry::new(Arc::new(MemoryStore::new()));
        let lease = NodeLease {
            node: "a".parse().unwrap(),
            epoch: Epoch(1),
            renewals: 1,
            ttl_ms: 5000,
            topology: BTreeMap::new(),
            addresses: Vec::new(),
        };
        registry.create(lease).await.unwrap();
        let clock = Arc::new(Hands(Mutex::new(Duration::from_secs(100))));
        let leases = Leases::new(registry, clock.clone(), Duration::from_secs(1));
        leases.read(&holder("a").node).await.unwrap();
        *clock.0.lock().unwrap() += since_renewal;
        let look = leases.look(Some(&holder("a"))).await.unwrap();
        *clock.0.lock().unwrap() += Duration::from_secs(3600);
        (leases, look)
    }

    #[tokio::test]
    async fn time_that_passes_after_a_look_ends_no_lease() {
        let (leases, look) = an_hour_after_a_look(Duration::from_secs(4)).await;
        assert!(matches!(leases.standing_at(&look, Some(&holder("a"))), Standing::Live(_)));
        let (leases, look) = an_hour_after_a_look(Duration::from_secs(7)).await;
        assert_eq!(leases.standing_at(&look, Some(&holder("a"))), Standing::Over);
    }

    #[tokio::test]
    async fn a_holder_that_was_not_looked_at_is_live() {
        let (leases, look) = an_hour_after_a_look(Duration::from_secs(7)).await;
        leases.read(&holder("a").node).await.unwrap();
        let other = leases.look(None).await.unwrap();
        assert!(matches!(leases.standing_at(&other, Some(&holder("a"))), Standing::Live(_)));
        assert!(matches!(leases.standing_at(&look, Some(&holder("b"))), Standing::Live(_)));
        assert_eq!(leases.standing_at(&look, None), Standing::Over);
    }
}
