//! Binding a volume to its member: the member's record, its addresses, its place in the service.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use stead_model::identity::{self, Request, StaticIp};
use stead_model::name::{MemberKey, Role, Term, VolumeId};
use stead_model::record::{
    self, AddressPool, Cluster, HoldKey, HoldRecord, Member, Service, Volume,
};
use stead_model::registry::Stored;
use stead_model::{Error, Kind, Result};
use tokio::sync::{Mutex, MutexGuard};

use crate::core::Core;

/// How many members can be bound or unbound at once.
const LOCKS: usize = 32;

/// How often a service is joined anew whose last member leaves meanwhile.
const JOINS_MAX: u32 = 100;

/// One thing at a time for each member.
///
/// That a member ends and its addresses are freed takes several writes. A volume that were bound
/// between two of them would be told an address that the next member gets too. A cluster has one
/// controller, so a lock in its memory is enough; what a crash cuts off is ended by the next bind.
#[derive(Clone, Default)]
pub(crate) struct MemberLocks(Arc<[Mutex<()>; LOCKS]>);

impl MemberLocks {
    async fn lock(&self, member: &MemberKey) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        member.hash(&mut hasher);
        // Less than LOCKS, so it fits.
        self.0[(hasher.finish() % LOCKS as u64) as usize].lock().await
    }
}

impl Core {
    /// Makes `volume` the member's in the role that was asked for, and returns the member.
    ///
    /// Every step may be repeated: a crash in between is made good by the repeat of the call.
    pub(crate) async fn bind(&self, request: &Request, volume: &VolumeId) -> Result<Member> {
        let zone = identity::zone_of(&request.member.cluster, &self.config.zone)?;
        let name = request.member.cluster.clone();
        let cluster = self.registry.get_or_create(Cluster { name, zone }).await?;
        let _lock = self.members.lock(&request.member).await;
        let mut known = self.registry.get::<Member>(&record::member_key(&request.member)).await?;
        if let Some(ending) = known.take_if(|known| known.volumes.is_empty()) {
            self.end_member(&ending).await?;
        }
        if let Some(known) = &known {
            check_member(known, request, volume)?;
        }
        let known_addresses = known.map(|known| known.addresses.clone()).unwrap_or_default();
        let (addresses, pool) = self.allocate(request, known_addresses).await?;
        let member = Member {
            id: request.member.clone(),
            service: request.service.clone(),
            dns_name: request.dns_name(&cluster.zone)?,
            pool: pool.map(|pool| pool.name),
            addresses,
            // From the first on: a member without any is one that ends.
            volumes: BTreeMap::from([(request.role.clone(), volume.clone())]),
        };
        self.join_service(request).await?;
        self.registry.get_or_create(member.clone()).await?;
        let key = record::member_key(&request.member);
        let bound = self.registry.change::<Member>(&key, |stored| {
            check_member(stored, request, volume)?;
            if stored.addresses.is_empty() {
                stored.addresses.clone_from(&member.addresses);
                stored.pool.clone_from(&member.pool);
            }
            stored.volumes.insert(request.role.clone(), volume.clone());
            Ok(())
        });
        Ok(bound.await?.decoded.record)
    }

    /// Undoes [`Core::bind`] for a volume. With its last volume the member goes and its addresses are
    /// free again; what stays is its term.
    pub(crate) async fn unbind(&self, volume: &Volume) -> Result<()> {
        let (Some(id), Some(role)) = (&volume.member, &volume.role) else { return Ok(()) };
        self.unbind_role(id, role, &volume.id).await
    }

    pub(crate) async fn unbind_role(
        &self,
        id: &MemberKey,
        role: &Role,
        volume: &VolumeId,
    ) -> Result<()> {
        let _lock = self.members.lock(id).await;
        let key = record::member_key(id);
        let unbound = self.registry.change::<Member>(&key, |member| {
            if member.volumes.get(role) == Some(volume) {
                member.volumes.remove(role);
            }
            Ok(())
        });
        let member = match unbound.await {
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            member => member?,
        };
        if !member.volumes.is_empty() {
            return Ok(());
        }
        self.end_member(&member).await
    }

    /// Ends a member without volumes. The caller has its lock.
    async fn end_member(&self, member: &Stored<Member>) -> Result<()> {
        self.forget_member(member).await?;
        // Last, so that a crash before it leaves a record from which the repeat can go on.
        self.registry.remove(member).await
    }

    async fn forget_member(&self, member: &Member) -> Result<()> {
        for address in &member.addresses {
            self.addresses.free(*address, &member.id).await?;
        }
        let hold = record::hold_key(&HoldKey::Member(member.id.clone()));
        let hold = self.registry.get::<HoldRecord>(&hold).await?;
        let term = hold.map_or(Term::default(), |hold| hold.hold.term);
        self.names.delete(&member.dns_name, term).await?;
        let key = record::service_key(&member.id.cluster, &member.service);
        let left = self.registry.change::<Service>(&key, |service| {
            service.members.remove(&member.id.member);
            Ok(())
        });
        match left.await {
            Ok(service) if service.members.is_empty() => match self.registry.remove(&service).await
            {
                // A member joined meanwhile: the service stays.
                Err(error) if error.kind() == Kind::Conflict => Ok(()),
                removed => removed,
            },
            Ok(_) => Ok(()),
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn join_service(&self, request: &Request) -> Result<()> {
        let service = Service {
            cluster: request.member.cluster.clone(),
            name: request.service.clone(),
            port: request.port,
            members: BTreeSet::from([request.member.member.clone()]),
        };
        let key = record::service_key(&service.cluster, &service.name);
        for _ in 0..JOINS_MAX {
            self.registry.get_or_create(service.clone()).await?;
            let joined = self.registry.change::<Service>(&key, |service| {
                service.members.insert(request.member.member.clone());
                service.port = request.port.or(service.port);
                Ok(())
            });
            match joined.await {
                // Its last member left in between, and the service with it.
                Err(error) if error.kind() == Kind::NotFound => {}
                joined => return joined.map(drop),
            }
        }
        Err(Error::conflict(format!("others keep leaving service '{}': repeat", service.name)))
    }

    /// The member's static addresses: those it has, or those that the request asks for.
    async fn allocate(
        &self,
        request: &Request,
        known: Vec<IpAddr>,
    ) -> Result<(Vec<IpAddr>, Option<AddressPool>)> {
        if request.static_ip == StaticIp::None || !request.role.is_primary() {
            return Ok((known, None));
        }
        let pool = self.pool(request).await?;
        if !known.is_empty() {
            return Ok((known, Some(pool)));
        }
        let mut addresses = Vec::new();
        let wanted: Vec<(AddressPool, Option<IpAddr>)> = match &request.static_ip {
            StaticIp::Exactly(exactly) => {
                exactly.iter().map(|a| (pool.clone(), Some(*a))).collect()
            }
            _ => one_of_each_family(&pool).into_iter().map(|pool| (pool, None)).collect(),
        };
        for (pool, wanted) in wanted {
            match self.addresses.allocate(&pool, &request.member, wanted).await {
                Ok(address) => addresses.push(address),
                Err(error) => {
                    for address in addresses {
                        self.addresses.free(address, &request.member).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok((addresses, Some(pool)))
    }

    async fn pool(&self, request: &Request) -> Result<AddressPool> {
        let key = record::pool_key(&request.member.cluster, &request.pool);
        if request.subnets.is_empty() {
            let pool = self.registry.get::<AddressPool>(&key).await?.ok_or_else(|| {
                Error::invalid(format!(
                    "cluster '{}' has no address pool '{}': give its subnets in parameter '{}subnet'",
                    request.member.cluster,
                    request.pool,
                    identity::PREFIX
                ))
            })?;
            return Ok(pool.decoded.record);
        }
        let pool = AddressPool {
            cluster: request.member.cluster.clone(),
            name: request.pool.clone(),
            subnets: request.subnets.clone(),
            reserved: BTreeSet::new(),
            interface: request.interface.clone(),
        };
        let stored = self.registry.get_or_create(pool).await?;
        if stored.subnets != request.subnets {
            let subnets: Vec<_> = stored.subnets.iter().map(ToString::to_string).collect();
            return Err(Error::invalid(format!(
                "pool '{}' of cluster '{}' has the subnets {}: ask for these, or name another pool",
                request.pool,
                request.member.cluster,
                subnets.join(",")
            )));
        }
        Ok(stored.decoded.record)
    }
}

/// The pool, once for each family that it has, with the subnets of that family alone.
fn one_of_each_family(pool: &AddressPool) -> Vec<AddressPool> {
    let of = |family| {
        let mut part = pool.clone();
        part.subnets.retain(|s| stead_model::address::Family::of(s.network()) == family);
        part
    };
    Request::families(&pool.subnets).into_iter().map(of).collect()
}

/// Whether the request fits the member that stands.
fn check_member(member: &Member, request: &Request, volume: &VolumeId) -> Result<()> {
    let taken = |what: String| Err(Error::already_exists(what));
    if member.service != request.service {
        return taken(format!(
            "member '{}' belongs to service '{}', not to '{}'",
            member.id, member.service, request.service
        ));
    }
    if let Some(other) = member.volumes.get(&request.role).filter(|other| *other != volume) {
        return taken(format!(
            "member '{}' has a volume of role '{}' already: '{other}'",
            member.id, request.role
        ));
    }
    if let StaticIp::Exactly(wanted) = &request.static_ip
        && !member.addresses.is_empty()
        && member.addresses != *wanted
    {
        return taken(format!(
            "member '{}' has the address {}: an identity keeps its own",
            member.id, member.addresses[0]
        ));
    }
    Ok(())
}
