//! The node's lease: renewed while the store answers, over by the node's own clock when it does not.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stead_model::clock::Clock;
use stead_model::lease::{Tenure, renewal_interval};
use stead_model::name::{Epoch, NodeId};
use stead_model::record::{HoldRecord, NodeLease, node_key};
use stead_model::registry::{Registry, Stored};
use stead_model::{Error as ModelError, Kind};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::jitter;
use crate::state::StateFile;

/// How often the clock is looked at: sleeping does not count the time that a host was suspended.
const LOOK: Duration = Duration::from_millis(200);

/// Which part of a lease one attempt to renew it may take: a lost answer leaves room for another.
const ATTEMPT_PARTS: u32 = 5;

/// A lease that this node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its epoch.
    pub epoch: Epoch,
    /// When it ends, on the clock of [`Clock::now`].
    pub end: Duration,
    /// The first epoch since the host booted, as far as is known: nothing that was mounted under an
    /// earlier one is still mounted.
    pub booted: Epoch,
}

/// The lease as the rest of the agent sees it.
#[derive(Clone)]
pub struct LeaseView {
    lease: watch::Receiver<Option<Lease>>,
    clock: Arc<dyn Clock>,
}

impl LeaseView {
    /// The lease, where it still runs.
    pub fn current(&self) -> Option<Lease> {
        (*self.lease.borrow()).filter(|lease| lease.end > self.clock.now())
    }

    /// How long it still runs.
    pub fn remaining(&self) -> Option<Duration> {
        let end = self.lease.borrow().as_ref()?.end;
        end.checked_sub(self.clock.now()).filter(|left| !left.is_zero())
    }

    /// How long the lease of this epoch still runs.
    pub fn remaining_of(&self, epoch: Epoch) -> Option<Duration> {
        let lease = self.current().filter(|lease| lease.epoch == epoch)?;
        lease.end.checked_sub(self.clock.now())
    }

    /// A receiver that sees each renewal and each loss.
    pub fn subscribe(&self) -> watch::Receiver<Option<Lease>> {
        self.lease.clone()
    }
}

/// What a node says of itself with its lease.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) node: NodeId,
    pub(crate) ttl: Duration,
    pub(crate) topology: BTreeMap<String, String>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// Keeps the node's lease.
pub(crate) struct Keeper {
    terms: Terms,
    registry: Registry,
    clock: Arc<dyn Clock>,
    file: StateFile,
    lease: watch::Sender<Option<Lease>>,
}

/// Why an attempt did not extend the lease.
enum Setback {
    /// It may be tried again while the lease runs.
    Failed(ModelError),
    /// The lease is over, whatever is left of it by the clock.
    Lost(&'static str),
}

impl Keeper {
    pub(crate) async fn new(
        terms: Terms,
        registry: Registry,
        clock: Arc<dyn Clock>,
        state_dir: &Path,
    ) -> Result<Self> {
        let file = StateFile::open(state_dir).await?;
        Ok(Self { terms, registry, clock, file, lease: watch::Sender::new(None) })
    }

    pub(crate) fn view(&self) -> LeaseView {
        LeaseView { lease: self.lease.subscribe(), clock: Arc::clone(&self.clock) }
    }

    /// Wins the lease, renews it, and wins it anew with the next epoch each time it was lost. When
    /// cancelled, it only stops: what is left of the lease is the next agent's.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let _ = cancel.run_until_cancelled(self.keep()).await;
    }

    async fn keep(self) {
        let left = self.file.read(&self.terms.node).await;
        let mut booted = left.as_ref().map(|left| left.booted);
        // Only the first registration may go on with the epoch of the agent before.
        let mut left = left.map(|left| (left.epoch, left.end()));
        let mut epoch = left.map(|(epoch, _)| epoch);
        loop {
            let (stored, end) = self.register(&mut left, epoch).await;
            let booted = *booted.get_or_insert(stored.epoch);
            let lease = Lease { epoch: stored.epoch, end, booted };
            epoch = Some(lease.epoch);
            // Noted first: a successor that finds nothing takes the host for newly booted.
            self.note(lease).await;
            self.publish(lease);
            tracing::info!(node = %self.terms.node, epoch = %lease.epoch, "the node lease is won");
            let reason = self.renew_until_lost(stored, lease).await;
            self.lease.send_replace(None);
            metrics::counter!("stead_lease_losses_total").increment(1);
            tracing::error!(node = %self.terms.node, epoch = %lease.epoch, reason,
                "the node lease is lost: every member's address leaves this node");
        }
    }

    fn publish(&self, lease: Lease) {
        self.lease.send_replace(Some(lease));
        let left = lease.end.saturating_sub(self.clock.now());
        metrics::gauge!("stead_lease_remaining_seconds").set(left.as_secs_f64());
    }

    /// Leaves the lease to a successor. An agent that dies before this leaves an earlier end, which
    /// is safe.
    async fn note(&self, lease: Lease) {
        if let Err(error) = self.file.write(&self.terms.node, &lease).await {
            tracing::warn!(error = ModelError::from(error).chain(), "the lease was not noted");
        }
    }

    /// Registers with an epoch that nobody can take for the last one, unless that one still runs.
    async fn register(
        &self,
        left: &mut Option<(Epoch, Duration)>,
        last: Option<Epoch>,
    ) -> (Stored<NodeLease>, Duration) {
        let mut attempt = 0;
        let mut told = String::new();
        loop {
            let continued = left.filter(|(_, end)| *end > self.clock.now());
            let deadline = continued
                .map_or(self.terms.ttl, |(_, end)| end.saturating_sub(self.clock.now()))
                .min(self.terms.ttl);
            let sent_at = self.clock.now();
            let registered = self.within(deadline, self.write_new(continued, last)).await;
            let now = self.clock.now();
            match registered {
                Ok(stored) if continued.is_none_or(|(_, end)| end > now) => {
                    *left = None;
                    let end = sent_at + self.terms.ttl;
                    if end > now {
                        return (stored, end);
                    }
                }
                // The old lease ended while the answer was under way: it was no continuation.
                Ok(_) => *left = None,
                Err(error) => {
                    let error = error.chain();
                    if error != told {
                        tracing::warn!(node = %self.terms.node, error, "could not register the node");
                        told = error;
                    }
                    back_off(self.terms.ttl, attempt).await;
                    attempt += 1;
                }
            }
        }
    }

    async fn write_new(
        &self,
        continued: Option<(Epoch, Duration)>,
        last: Option<Epoch>,
    ) -> Result<Stored<NodeLease>, ModelError> {
        let key = node_key(&self.terms.node);
        let Some(stored) = self.registry.get::<NodeLease>(&key).await? else {
            // The record was removed by a person; epochs that stand in holds must not come again.
            let held = self.registry.list_all::<HoldRecord>().await?;
            let holders = held.iter().filter_map(|record| record.hold.holder.as_ref());
            let named = holders.filter(|holder| holder.node == self.terms.node);
            let highest = named.map(|holder| holder.epoch).chain(last).max().unwrap_or_default();
            return self.registry.create(self.record(highest.next(), 1)).await;
        };
        let epoch = match continued {
            Some((epoch, _)) if epoch == stored.epoch => epoch,
            _ => stored.epoch.max(last.unwrap_or_default()).next(),
        };
        let record = self.record(epoch, stored.renewals + 1);
        self.registry.update(stored, record).await
    }

    async fn renew_until_lost(&self, mut stored: Stored<NodeLease>, lease: Lease) -> &'static str {
        let mut tenure = Tenure::new(self.terms.ttl);
        tenure.renewed(lease.end.saturating_sub(self.terms.ttl));
        let mut failures = 0;
        let mut due = self.clock.now() + self.interval();
        loop {
            let Some(remaining) = tenure.remaining(self.clock.now()) else {
                return "it could not be renewed in time";
            };
            let wait = due.saturating_sub(self.clock.now());
            if !wait.is_zero() {
                tokio::time::sleep(wait.min(LOOK).min(remaining)).await;
                continue;
            }
            let sent_at = self.clock.now();
            let deadline = remaining.min(self.terms.ttl / ATTEMPT_PARTS);
            match self.renew(&mut stored, lease.epoch, deadline).await {
                Ok(()) => {
                    // An answer that comes after the end comes too late: observers may have acted.
                    if tenure.remaining(self.clock.now()).is_none() {
                        return "the answer to its renewal came after its end";
                    }
                    tenure.renewed(sent_at);
                    let lease = Lease { end: sent_at + self.terms.ttl, ..lease };
                    self.publish(lease);
                    self.note(lease).await;
                    metrics::counter!("stead_lease_renewals_total").increment(1);
                    failures = 0;
                    due = sent_at + self.interval();
                }
                Err(Setback::Lost(reason)) => return reason,
                Err(Setback::Failed(error)) => {
                    tracing::warn!(node = %self.terms.node, epoch = %lease.epoch, failures,
                        error = error.chain(), "could not renew the node lease");
                    metrics::counter!("stead_lease_renewal_failures_total").increment(1);
                    due = self.clock.now() + retry_delay(self.terms.ttl, failures);
                    failures += 1;
                }
            }
        }
    }

    async fn renew(
        &self,
        stored: &mut Stored<NodeLease>,
        epoch: Epoch,
        deadline: Duration,
    ) -> Result<(), Setback> {
        let record = self.record(epoch, stored.renewals + 1);
        let attempt = self.registry.update(stored.clone(), record);
        match self.within(deadline, attempt).await {
            Ok(fresh) => {
                *stored = fresh;
                Ok(())
            }
            Err(error) if error.kind() == Kind::Conflict => {
                // Either an earlier renewal arrived whose answer was lost, or somebody else wrote.
                let key = node_key(&self.terms.node);
                let read = self.within(deadline, self.registry.get::<NodeLease>(&key)).await;
                match read.map_err(Setback::Failed)? {
                    None => return Err(Setback::Lost("its record was removed")),
                    Some(now) if now.epoch != epoch => {
                        return Err(Setback::Lost(
                            "somebody registered this node anew: are there two agents?",
                        ));
                    }
                    Some(now) => *stored = now,
                }
                Err(Setback::Failed(error))
            }
            Err(error) => Err(Setback::Failed(error)),
        }
    }

    fn record(&self, epoch: Epoch, renewals: u64) -> NodeLease {
        let terms = self.terms.clone();
        NodeLease {
            node: terms.node,
            epoch,
            renewals,
            ttl_ms: u64::try_from(terms.ttl.as_millis()).unwrap_or(u64::MAX),
            topology: terms.topology,
            addresses: terms.addresses,
        }
    }

    fn interval(&self) -> Duration {
        jitter::between(renewal_interval(self.terms.ttl), 0.8, 1.0)
    }

    async fn within<T>(
        &self,
        deadline: Duration,
        work: impl Future<Output = Result<T, ModelError>>,
    ) -> Result<T, ModelError> {
        tokio::time::timeout(deadline, work).await.unwrap_or_else(|_| {
            let seconds = deadline.as_secs();
            Err(Error::Deadline { step: "the identity store", seconds }.into())
        })
    }
}

/// A first retry comes soon, the following ones at growing distance, none later than a tenth of the
/// lease.
fn retry_delay(ttl: Duration, failures: u32) -> Duration {
    let ceiling = (ttl / 100) * 2u32.pow(failures.min(4));
    jitter::between(ceiling.min(ttl / 10), 0.5, 1.0)
}

async fn back_off(ttl: Duration, attempt: u32) {
    tokio::time::sleep(retry_delay(ttl, attempt)).await;
}
