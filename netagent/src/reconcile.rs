//! Bringing one member's network identity to what the store says, in the order that makes every
//! crash in between survivable.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use stead_model::Error as ModelError;
use stead_model::hold::Hold;
use stead_model::name::{Epoch, MemberKey, NodeId};
use stead_model::port::{AddressBackend, DnsBackend};
use stead_model::record::{
    AddressPool, Cluster, DnsName, HoldKey, HoldRecord, Member, Service, cluster_key, hold_key,
    member_key, pool_key, service_key,
};
use stead_model::registry::Registry;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::agent::PARALLEL;
use crate::announce::Announcer;
use crate::desired::{Wanted, is_left_over, is_up, renewed};
use crate::error::{Error, Result};
use crate::jitter;
use crate::kernel::{Carried, Kernel, lifetime};
use crate::lease::{Lease, LeaseView};
use crate::slot::{Slot, Slots, Up};

/// How long one call to a back end may take before it is given up and tried again later.
const STEP_DEADLINE: Duration = Duration::from_secs(15);

/// How often a member is tried before the next regular check takes over.
const TRIES_MAX: u32 = 6;

/// All that is needed to work on members.
pub(crate) struct Reconciler {
    pub(crate) node: NodeId,
    pub(crate) node_addresses: Vec<IpAddr>,
    pub(crate) registry: Registry,
    pub(crate) addresses: Arc<dyn AddressBackend>,
    pub(crate) dns: Arc<dyn DnsBackend>,
    pub(crate) kernel: Kernel,
    pub(crate) announcer: Announcer,
    pub(crate) lease: LeaseView,
    pub(crate) slots: Slots,
}

impl Reconciler {
    /// Makes kernel, network and DNS agree with the store for one member; returns what is up.
    #[tracing::instrument(skip_all, fields(node = %self.node, member = %key))]
    pub(crate) async fn converge(&self, key: &MemberKey) -> Result<Vec<IpAddr>> {
        let began = Instant::now();
        let slot = self.slots.slot(key);
        let result = {
            let _turn = slot.turn.lock().await;
            slot.queued.store(false, Ordering::Release);
            self.converge_in_turn(key, &slot).await
        };
        if slot.up.lock().await.is_none() {
            self.slots.forget(key, slot);
        }
        let outcome = if result.is_ok() { "ok" } else { "error" };
        metrics::histogram!("stead_converge_seconds", "outcome" => outcome)
            .record(began.elapsed().as_secs_f64());
        result
    }

    /// As [`Reconciler::converge`], trying again a few times where it fails.
    pub(crate) async fn converge_patiently(&self, key: &MemberKey, permits: &Semaphore) {
        for attempt in 0..TRIES_MAX {
            let permit = permits.acquire().await;
            let result = self.converge(key).await;
            drop(permit);
            let Err(error) = result else { return };
            tracing::warn!(node = %self.node, member = %key, attempt,
                error = ModelError::from(error).chain(), "could not converge a member");
            let ceiling = Duration::from_millis(100) * 2u32.pow(attempt);
            tokio::time::sleep(jitter::between(ceiling, 0.5, 1.0)).await;
        }
    }

    async fn converge_in_turn(&self, key: &MemberKey, slot: &Slot) -> Result<Vec<IpAddr>> {
        let Some(lease) = self.lease.current() else {
            self.withdraw(slot, &[]).await?;
            return Err(Error::LeaseShort);
        };
        let member = self.registry.get::<Member>(&member_key(key)).await?;
        let member = member.map(|stored| stored.decoded.record);
        let hold = self.hold(key, &lease).await?;
        match (hold, member) {
            (Some(hold), Some(member)) if is_up(&hold, &member, &self.node, lease.epoch) => {
                let wanted = Wanted { term: hold.term, member };
                self.put_up(slot, &wanted, lease.epoch).await?;
                Ok(wanted.member.addresses)
            }
            (_, member) => {
                // An agent that died may have left what this one never put up.
                let addresses = member.map(|member| member.addresses).unwrap_or_default();
                self.withdraw(slot, &addresses).await?;
                Ok(Vec::new())
            }
        }
    }

    /// The member's hold. One of an earlier epoch of ours that nobody has taken over goes on first.
    async fn hold(&self, key: &MemberKey, lease: &Lease) -> Result<Option<Hold>> {
        let of = HoldKey::Member(key.clone());
        let Some(stored) = self.registry.get::<HoldRecord>(&hold_key(&of)).await? else {
            return Ok(None);
        };
        if is_left_over(&stored.hold, &self.node, lease.epoch) {
            return Ok(Some(self.adopt(&of, lease).await?.hold));
        }
        Ok(Some(stored.decoded.record.hold))
    }

    /// Carries a hold of ours over into the lease's epoch, unless it was taken over meanwhile.
    pub(crate) async fn adopt(&self, of: &HoldKey, lease: &Lease) -> Result<HoldRecord> {
        let edit = |record: &mut HoldRecord| {
            if is_left_over(&record.hold, &self.node, lease.epoch) {
                record.hold = renewed(&record.hold, &self.node, lease.epoch, lease.booted)?;
            }
            Ok(())
        };
        let stored = self.registry.change(&hold_key(of), edit).await?;
        Ok(stored.decoded.record)
    }

    async fn put_up(&self, slot: &Slot, wanted: &Wanted, epoch: Epoch) -> Result<()> {
        let member = &wanted.member;
        for address in &member.addresses {
            let cluster = &member.id.cluster;
            let assigned = self.addresses.assign(cluster, *address, &self.node, wanted.term);
            step("assign", assigned).await?;
        }
        let carried = self.choose_links(member).await?;
        self.carry(slot, wanted, epoch, carried).await?;
        let name = self.dns_name(wanted).await?;
        step("dns", self.dns.upsert(&name)).await
    }

    async fn choose_links(&self, member: &Member) -> Result<Vec<Carried>> {
        let pool = match &member.pool {
            Some(pool) if !member.addresses.is_empty() => {
                self.registry.get::<AddressPool>(&pool_key(&member.id.cluster, pool)).await?
            }
            _ => None,
        };
        let mut carried = Vec::new();
        for address in &member.addresses {
            let link = self.kernel.link_for(*address, pool.as_deref()).await?;
            carried.push(Carried { address: *address, link });
        }
        Ok(carried)
    }

    /// Puts the addresses on their links and announces them, provided that the lease still runs.
    async fn carry(
        &self,
        slot: &Slot,
        wanted: &Wanted,
        epoch: Epoch,
        carried: Vec<Carried>,
    ) -> Result<()> {
        let began = Instant::now();
        let mut up = slot.up.lock().await;
        let gone = up.iter().flat_map(|it| &it.carried).filter(|it| !carried.contains(it));
        let gone: Vec<_> = gone.map(|it| it.address).collect();
        if !gone.is_empty() {
            self.kernel.remove(&gone).await?;
        }
        let same = up.as_ref().is_some_and(|it| {
            it.carried == carried && it.term == wanted.term && it.announcing.is_some()
        });
        let announcing = up.take().filter(|_| same).and_then(|it| it.announcing);
        // Noted before it is done: whoever takes everything down must know of it.
        let term = wanted.term;
        let up = up.insert(Up { epoch, term, carried: carried.clone(), announcing: None });
        for it in &carried {
            let seconds = self.lease.remaining_of(epoch).and_then(lifetime);
            self.kernel.carry(it.address, &it.link, seconds.ok_or(Error::LeaseShort)?).await?;
        }
        if self.lease.remaining_of(epoch).is_none() {
            // This process stood still between the look at the lease and the call to the kernel.
            let late: Vec<_> = carried.iter().map(|it| it.address).collect();
            self.kernel.remove(&late).await?;
            return Err(Error::LeaseShort);
        }
        let fresh = announcing.is_none();
        up.announcing =
            announcing.or_else(|| Some(self.announcer.start(carried, self.lease.clone())));
        if fresh {
            tracing::info!(member = %wanted.member.id, %term, addresses = ?wanted.member.addresses,
                "a member's addresses are up");
            metrics::histogram!("stead_step_seconds", "step" => "kernel")
                .record(began.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// Takes the member's addresses off this node; network and DNS keep their last word, until the
    /// next holder's.
    async fn withdraw(&self, slot: &Slot, others: &[IpAddr]) -> Result<()> {
        let mut up = slot.up.lock().await;
        let mut addresses = others.to_vec();
        if let Some(up) = &mut *up {
            up.announcing = None;
            addresses.extend(up.carried.iter().map(|it| it.address));
        }
        addresses.sort_unstable();
        addresses.dedup();
        if !addresses.is_empty() && self.kernel.remove(&addresses).await? > 0 {
            tracing::info!(?addresses, "a member's addresses are down");
        }
        *up = None;
        Ok(())
    }

    async fn dns_name(&self, wanted: &Wanted) -> Result<DnsName> {
        let member = &wanted.member;
        let cluster = &member.id.cluster;
        let zone = self.registry.require::<Cluster>(&cluster_key(cluster)).await?.zone.clone();
        let service = service_key(cluster, &member.service);
        let port = self.registry.get::<Service>(&service).await?.and_then(|it| it.port);
        let own =
            if member.addresses.is_empty() { &self.node_addresses } else { &member.addresses };
        if own.is_empty() {
            return Err(Error::NoAddress { member: member.id.to_string() });
        }
        Ok(DnsName {
            name: member.dns_name.clone(),
            zone,
            service: member.service.clone(),
            port,
            addresses: own.clone(),
            term: wanted.term,
        })
    }

    /// Gives every address that is up the life of the renewed lease.
    pub(crate) async fn prolong(&self, epoch: Epoch) {
        for (member, slot) in self.slots.all() {
            let up = slot.up.lock().await;
            let Some(up) = up.as_ref().filter(|up| up.epoch == epoch && up.announcing.is_some())
            else {
                continue;
            };
            for it in &up.carried {
                let Some(seconds) = self.lease.remaining_of(epoch).and_then(lifetime) else {
                    return;
                };
                if let Err(error) = self.kernel.carry(it.address, &it.link, seconds).await {
                    tracing::warn!(node = %self.node, %member, term = %up.term, address = %it.address,
                        error = ModelError::from(error).chain(), "could not renew an address");
                }
            }
        }
    }

    /// The lease is lost: nothing of ours stays up, and it goes with one listing of the kernel. What
    /// fails here, the kernel does by itself when the addresses' lives end.
    pub(crate) async fn fence(&self) {
        let mut addresses = Vec::new();
        for (_, slot) in self.slots.all() {
            let up = slot.up.lock().await.take();
            addresses.extend(up.into_iter().flat_map(|up| up.carried).map(|it| it.address));
        }
        if !addresses.is_empty()
            && let Err(error) = self.kernel.remove(&addresses).await
        {
            tracing::error!(node = %self.node, error = ModelError::from(error).chain(),
                "could not take every address down");
        }
        metrics::counter!("stead_fences_total").increment(1);
    }

    /// Removes addresses that carry our mark but are not wanted here: left by an agent that died.
    pub(crate) async fn purge(&self, holds: &[HoldRecord]) -> Result<()> {
        let tagged: BTreeSet<_> = self.kernel.tagged().await?.iter().map(|it| it.address).collect();
        if tagged.is_empty() {
            return Ok(());
        }
        let mut keep = BTreeSet::new();
        for (_, slot) in self.slots.all() {
            let up = slot.up.lock().await;
            keep.extend(up.iter().flat_map(|up| &up.carried).map(|it| it.address));
        }
        let epoch = self.lease.current().map(|lease| lease.epoch);
        if let Some(epoch) = epoch
            && tagged.iter().any(|address| !keep.contains(address))
        {
            let members = self.members_held(holds).await?;
            let wanted = crate::desired::desired(holds, &members, &self.node, epoch);
            keep.extend(wanted.values().flat_map(|it| it.member.addresses.iter().copied()));
        }
        let leftover: Vec<_> = tagged.difference(&keep).copied().collect();
        if !leftover.is_empty() {
            let removed = self.kernel.remove(&leftover).await?;
            metrics::counter!("stead_leftovers_removed_total").increment(removed as u64);
            tracing::info!(node = %self.node, ?leftover, "leftover addresses were removed");
        }
        Ok(())
    }

    async fn members_held(&self, holds: &[HoldRecord]) -> Result<BTreeMap<MemberKey, Member>> {
        let held = holds.iter().filter(|record| {
            record.hold.holder.as_ref().is_some_and(|holder| holder.node == self.node)
        });
        let keys: Vec<_> = held
            .filter_map(|record| match &record.of {
                HoldKey::Member(key) => Some(member_key(key)),
                HoldKey::Volume(_) => None,
            })
            .collect();
        let gets = keys.into_iter().map(|key| {
            let registry = self.registry.clone();
            async move { registry.get::<Member>(&key).await }
        });
        let mut members = BTreeMap::new();
        let mut answers = futures::stream::iter(gets).buffer_unordered(PARALLEL);
        while let Some(answer) = answers.next().await {
            if let Some(stored) = answer? {
                let member = stored.decoded.record;
                members.insert(member.id.clone(), member);
            }
        }
        Ok(members)
    }

    /// The members with something amiss: an address is missing, or never came up whole.
    pub(crate) async fn astray(&self) -> Result<Vec<MemberKey>> {
        let snapshot = self.kernel.list().await?;
        let mut astray = Vec::new();
        for (member, slot) in self.slots.all() {
            let Ok(up) = slot.up.try_lock() else { continue };
            let there = |it: &Carried| {
                let mut all = snapshot.addresses.iter();
                all.any(|at| at.ours && at.address == it.address && at.link == it.link.index)
            };
            let whole = up
                .as_ref()
                .is_some_and(|up| up.announcing.is_some() && up.carried.iter().all(there));
            if !whole {
                astray.push(member);
            }
        }
        Ok(astray)
    }
}

/// One call to a back end: bounded and measured.
async fn step<T>(
    step: &'static str,
    work: impl Future<Output = Result<T, ModelError>>,
) -> Result<T> {
    let began = Instant::now();
    let result = tokio::time::timeout(STEP_DEADLINE, work).await;
    metrics::histogram!("stead_step_seconds", "step" => step).record(began.elapsed().as_secs_f64());
    let late = |_| Error::Deadline { step, seconds: STEP_DEADLINE.as_secs() };
    Ok(result.map_err(late)??)
}
