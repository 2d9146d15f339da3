//! The agent of a node: the one process that puts members' addresses up and takes them down.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stead_model::clock::Clock;
use stead_model::name::{MemberKey, NodeId};
use stead_model::port::{AddressBackend, DnsBackend};
use stead_model::record::{HoldKey, HoldRecord};
use stead_model::registry::Registry;
use stead_model::{Error, Result};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::announce::Announcer;
use crate::desired::is_left_over;
use crate::follow::{Seen, follow};
use crate::kernel::Kernel;
use crate::lease::{Keeper, LeaseView, Terms};
use crate::reconcile::Reconciler;
use crate::service::Service;
use crate::slot::Slots;

/// How often the kernel is compared with what should be up.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// How often every hold is read anew although the watch lives.
const RELIST_INTERVAL: Duration = Duration::from_secs(60);

/// How many members are worked on at once in the background.
pub(crate) const PARALLEL: usize = 16;

/// How a node's agent is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node.
    pub node: NodeId,
    /// How long its lease is; see [`stead_model::lease::TTL_DEFAULT`]. At least two seconds: the
    /// kernel counts the lives of addresses in whole ones.
    pub ttl: Duration,
    /// The node's own addresses, which members without a static one go by.
    pub node_addresses: Vec<IpAddr>,
    /// Where the node is: topology segments.
    pub topology: BTreeMap<String, String>,
    /// Where the agent leaves what its successor needs; best on a file system that a boot empties.
    pub state_dir: PathBuf,
}

/// The shortest lease that leaves the kernel's clock of whole seconds some room.
const TTL_MIN: Duration = Duration::from_secs(2);

/// The agent. It is made in the network namespace whose addresses it minds.
pub struct Agent {
    reconciler: Arc<Reconciler>,
    keeper: Keeper,
    registry: Registry,
    ready: Arc<watch::Sender<bool>>,
}

impl Agent {
    /// Opens its sockets and its state directory; nothing is changed before [`Agent::run`].
    /// Needs `CAP_NET_ADMIN` and `CAP_NET_RAW`.
    pub async fn new(
        config: Config,
        registry: Registry,
        addresses: Arc<dyn AddressBackend>,
        dns: Arc<dyn DnsBackend>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        if config.ttl < TTL_MIN {
            return Err(Error::invalid(format!(
                "a lease of {} ms is too short: the kernel counts in seconds, so use at least {} s",
                config.ttl.as_millis(),
                TTL_MIN.as_secs()
            )));
        }
        let terms = Terms {
            node: config.node.clone(),
            ttl: config.ttl,
            topology: config.topology,
            addresses: config.node_addresses.clone(),
        };
        let keeper = Keeper::new(terms, registry.clone(), clock, &config.state_dir).await?;
        let reconciler = Arc::new(Reconciler {
            node: config.node,
            node_addresses: config.node_addresses,
            registry: registry.clone(),
            addresses,
            dns,
            kernel: Kernel::open()?,
            announcer: Announcer::open()?,
            lease: keeper.view(),
            slots: Slots::default(),
        });
        Ok(Self { reconciler, keeper, registry, ready: Arc::default() })
    }

    /// The gRPC service `stead.v1.Agent`; a call waits a little for [`Agent::run`] to have read the
    /// store, and is refused where that takes longer.
    pub fn service(&self) -> Service {
        Service::new(Arc::clone(&self.reconciler), Arc::clone(&self.ready))
    }

    /// The node's lease.
    pub fn lease(&self) -> LeaseView {
        self.reconciler.lease.clone()
    }

    /// Minds the node's lease and members until cancelled. Addresses stay up when it ends, for what
    /// is left of the lease: an agent that starts before then takes them over.
    pub async fn run(self, cancel: CancellationToken) {
        let Self { reconciler, keeper, registry, ready } = self;
        let again = Arc::new(Notify::new());
        let (seen, events) = mpsc::channel(64);
        let watched = follow::<HoldRecord>(registry, seen, Arc::clone(&again), RELIST_INTERVAL);
        let permits = Arc::new(Semaphore::new(PARALLEL));
        let minder = Minder { reconciler, ready, again, tasks: TaskTracker::new(), permits };
        let work = async {
            tokio::join!(watched, minder.mind_lease(), minder.mind_kernel(), minder.mind(events))
        };
        let kept = keeper.run(cancel.clone());
        tokio::join!(kept, async { cancel.run_until_cancelled(work).await });
    }
}

/// The background work of an agent.
struct Minder {
    reconciler: Arc<Reconciler>,
    ready: Arc<watch::Sender<bool>>,
    again: Arc<Notify>,
    tasks: TaskTracker,
    /// Bounds how many members the store is asked about at once.
    permits: Arc<Semaphore>,
}

impl Minder {
    /// Renews the lives of addresses with each renewal of the lease, and ends them with its loss.
    async fn mind_lease(&self) {
        let mut changes = self.reconciler.lease.subscribe();
        let mut epoch = None;
        while changes.changed().await.is_ok() {
            let lease = *changes.borrow_and_update();
            match lease {
                Some(lease) => {
                    if epoch != Some(lease.epoch) {
                        if epoch.is_some() {
                            // A loss that was made good before it was seen here is still one.
                            self.reconciler.fence().await;
                        }
                        epoch = Some(lease.epoch);
                        self.again.notify_one();
                    }
                    self.reconciler.prolong(lease.epoch).await;
                }
                None => self.reconciler.fence().await,
            }
        }
    }

    /// Looks now and then whether somebody has taken away what should be up.
    async fn mind_kernel(&self) {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            match self.reconciler.astray().await {
                Ok(members) => members.into_iter().for_each(|member| self.enqueue(member)),
                Err(error) => {
                    tracing::warn!(error = Error::from(error).chain(), "cannot check the kernel")
                }
            }
        }
    }

    /// Follows the holds. Silent until they were read once under a lease.
    async fn mind(&self, mut events: mpsc::Receiver<Seen<HoldRecord>>) {
        while let Some(event) = events.recv().await {
            match event {
                Seen::Listed(holds) => self.resync(holds).await,
                Seen::Put(hold) => {
                    if self.concerns_us(&hold)
                        && let HoldKey::Member(member) = hold.of
                    {
                        self.enqueue(member);
                    }
                }
                Seen::Deleted(key) => {
                    let up = self.reconciler.slots.members();
                    let is = |member: &MemberKey| {
                        stead_model::record::hold_key(&HoldKey::Member(member.clone())) == key
                    };
                    up.into_iter().filter(is).for_each(|member| self.enqueue(member));
                }
            }
        }
    }

    fn concerns_us(&self, record: &HoldRecord) -> bool {
        let holder = record.hold.holder.as_ref();
        let held = holder.is_some_and(|holder| holder.node == self.reconciler.node);
        let HoldKey::Member(member) = &record.of else { return false };
        held || self.reconciler.slots.has(member)
    }

    async fn resync(&self, holds: Vec<HoldRecord>) {
        // Without a lease there is nothing to do: winning one lists again.
        let Some(lease) = self.reconciler.lease.current() else { return };
        if let Err(error) = self.reconciler.purge(&holds).await {
            tracing::warn!(
                error = Error::from(error).chain(),
                "could not remove leftover addresses"
            );
            self.again.notify_one();
            tokio::time::sleep(Duration::from_secs(1)).await;
            return;
        }
        let concern = holds.iter().filter(|hold| self.concerns_us(hold));
        let members: Vec<_> = concern
            .filter_map(|record| match &record.of {
                HoldKey::Member(member) => Some(member.clone()),
                HoldKey::Volume(_) => None,
            })
            .collect();
        // A plain volume's hold has no network identity, but it too goes on in the next epoch.
        for record in holds.iter().filter(|record| matches!(record.of, HoldKey::Volume(_))) {
            if is_left_over(&record.hold, &self.reconciler.node, lease.epoch)
                && let Err(error) = self.reconciler.adopt(&record.of, &lease).await
            {
                tracing::warn!(of = %record.of, error = Error::from(error).chain(),
                    "could not renew a hold");
            }
        }
        self.ready.send_replace(true);
        members.into_iter().for_each(|member| self.enqueue(member));
    }

    /// Works on a member in the background until it has converged or cannot.
    fn enqueue(&self, member: MemberKey) {
        let slot = self.reconciler.slots.slot(&member);
        if slot.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let reconciler = Arc::clone(&self.reconciler);
        let permits = Arc::clone(&self.permits);
        self.tasks.spawn(async move { reconciler.converge_patiently(&member, &permits).await });
    }
}
