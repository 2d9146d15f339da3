//! `L2Addresses`: addresses on a plain network, which needs nothing but announcements.

use std::collections::BTreeSet;
use std::net::IpAddr;

use async_trait::async_trait;
use stead_model::address::Family;
use stead_model::name::{ClusterName, MemberKey, NodeId, Term};
use stead_model::port::{AddressBackend, Assignment, Key, Page};
use stead_model::record::{Address, AddressPool, NameIndex, Record, address_key, name_key};
use stead_model::registry::Registry;
use stead_model::{Error, Kind, Result};

/// How many taken candidates are met before the taken ones are listed instead of asked for singly.
const PROBES_MAX: usize = 8;

/// The kind under which a member's address stands in the name index.
const INDEX: &str = "address";

/// Addresses whose only authority is the identity store.
///
/// A member's choice is written down (an index record) before the address is taken, so that a
/// repeat after a crash goes for the same one.
pub struct L2Addresses {
    registry: Registry,
}

impl L2Addresses {
    /// Addresses kept in this store.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }

    /// Takes the address for `owner`; false where another member has it.
    async fn take(&self, address: IpAddr, owner: &MemberKey) -> Result<bool> {
        let record = Address { address, owner: owner.clone(), node: None, term: Term(0) };
        Ok(self.registry.get_or_create(record).await?.owner == *owner)
    }

    async fn get(&self, cluster: &ClusterName, address: IpAddr) -> Result<Option<Address>> {
        let stored = self.registry.get::<Address>(&address_key(cluster, address)).await?;
        Ok(stored.map(|stored| stored.decoded.record))
    }

    async fn chosen(&self, family: Family, owner: &MemberKey) -> Result<Option<IpAddr>> {
        let key = name_key(INDEX, &index_name(family, owner));
        let stored = self.registry.get::<NameIndex>(&key).await?;
        Ok(stored.and_then(|stored| stored.id.parse().ok()))
    }

    async fn choose(&self, address: IpAddr, owner: &MemberKey) -> Result<()> {
        let name = index_name(Family::of(address), owner);
        let index = NameIndex { of: INDEX.to_owned(), name, id: address.to_string() };
        let key = index.key();
        if self.registry.get_or_create(index).await?.id == address.to_string() {
            return Ok(());
        }
        let edit = |index: &mut NameIndex| {
            index.id = address.to_string();
            Ok(())
        };
        self.registry.change(&key, edit).await.map(drop)
    }

    async fn allocate_any(&self, pool: &AddressPool, owner: &MemberKey) -> Result<IpAddr> {
        let Some(first) = pool.subnets.first() else {
            return Err(Error::invalid(format!("pool '{}' has no subnets", pool.name)));
        };
        let family = Family::of(first.network());
        if let Some(address) = self.chosen(family, owner).await?
            && pool.check(address).is_ok()
            && self.take(address, owner).await?
        {
            return Ok(address);
        }
        let mut taken = None;
        for (tried, candidate) in pool.candidates(family, owner).enumerate() {
            if tried == PROBES_MAX {
                taken = Some(self.taken(&owner.cluster).await?);
            }
            let free = match &taken {
                Some(taken) => !taken.contains(&candidate),
                None => {
                    self.get(&owner.cluster, candidate).await?.is_none_or(|it| it.owner == *owner)
                }
            };
            if !free {
                continue;
            }
            self.choose(candidate, owner).await?;
            if self.take(candidate, owner).await? {
                return Ok(candidate);
            }
        }
        Err(Error::exhausted(format!(
            "pool '{}' of cluster '{}' has no free address: free one, or give the pool another subnet",
            pool.name, pool.cluster
        )))
    }

    /// The addresses that a cluster has given out.
    async fn taken(&self, cluster: &ClusterName) -> Result<BTreeSet<IpAddr>> {
        let prefix = format!("{}/", Key::new(Address::KIND, &[cluster.as_str()]));
        let mut taken = BTreeSet::new();
        let mut page = Page::default();
        loop {
            let entries = self.registry.store().list(&prefix, page.clone()).await?;
            let last = entries.len() < page.entries_max();
            page.after = entries.last().map(|entry| entry.key.clone());
            let address = |key: &Key| key.as_str().strip_prefix(&prefix)?.parse::<IpAddr>().ok();
            taken.extend(entries.iter().filter_map(|entry| address(&entry.key)));
            if last {
                return Ok(taken);
            }
        }
    }
}

fn index_name(family: Family, owner: &MemberKey) -> String {
    match family {
        Family::V4 => format!("v4/{owner}"),
        Family::V6 => format!("v6/{owner}"),
    }
}

#[async_trait]
impl AddressBackend for L2Addresses {
    async fn allocate(
        &self,
        pool: &AddressPool,
        owner: &MemberKey,
        wanted: Option<IpAddr>,
    ) -> Result<IpAddr> {
        let Some(wanted) = wanted else { return self.allocate_any(pool, owner).await };
        pool.check(wanted)?;
        if !self.take(wanted, owner).await? {
            let has = self.get(&owner.cluster, wanted).await?;
            let has = has.map_or_else(|| "another member".to_owned(), |it| it.owner.to_string());
            return Err(Error::already_exists(format!(
                "{wanted} belongs to {has}: ask for another address, or for auto"
            )));
        }
        self.choose(wanted, owner).await?;
        Ok(wanted)
    }

    async fn free(&self, address: IpAddr, owner: &MemberKey) -> Result<()> {
        let key = address_key(&owner.cluster, address);
        self.registry.remove_if::<Address>(&key, |stored| Ok(stored.owner == *owner)).await?;
        let family = Family::of(address);
        if self.chosen(family, owner).await? == Some(address) {
            self.registry.remove_key(&name_key(INDEX, &index_name(family, owner))).await?;
        }
        Ok(())
    }

    async fn assign(
        &self,
        cluster: &ClusterName,
        address: IpAddr,
        node: &NodeId,
        term: Term,
    ) -> Result<()> {
        let edit = |record: &mut Address| {
            let other = record.node.as_ref().filter(|has| *has != node);
            if term < record.term || (term == record.term && other.is_some()) {
                let has = record.node.as_ref().map_or("no node", NodeId::as_str);
                return Err(Error::precondition(format!(
                    "{address} was assigned to {has} with term {}: node '{node}' comes with term {term}",
                    record.term
                )));
            }
            record.node = Some(node.clone());
            record.term = term;
            Ok(())
        };
        self.registry.change(&address_key(cluster, address), edit).await.map(drop)
    }

    async fn unassign(&self, cluster: &ClusterName, address: IpAddr, node: &NodeId) -> Result<()> {
        let edit = |record: &mut Address| {
            if record.node.as_ref() == Some(node) {
                record.node = None;
            }
            Ok(())
        };
        match self.registry.change(&address_key(cluster, address), edit).await {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            result => result.map(drop),
        }
    }

    async fn assignment(
        &self,
        cluster: &ClusterName,
        address: IpAddr,
    ) -> Result<Option<Assignment>> {
        let record = self.get(cluster, address).await?;
        Ok(record.map(|Address { owner, node, term, .. }| Assignment { owner, node, term }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stead_model::port::{MemoryStore, contract};

    use super::*;

    #[tokio::test]
    async fn it_keeps_the_contract() {
        let fresh = async || L2Addresses::new(Registry::new(Arc::new(MemoryStore::new())));
        contract::address::all(fresh).await;
    }

    #[tokio::test]
    async fn a_repeat_after_a_crash_goes_for_the_same_address() {
        let backend = L2Addresses::new(Registry::new(Arc::new(MemoryStore::new())));
        let pool = AddressPool {
            cluster: "c".parse().unwrap(),
            name: "p".parse().unwrap(),
            subnets: vec!["10.0.0.0/24".parse().unwrap()],
            reserved: BTreeSet::new(),
            interface: None,
        };
        let owner: MemberKey = "c/m-0".parse().unwrap();
        // The choice was written, then the process died before the address was taken.
        let chosen = "10.0.0.99".parse().unwrap();
        backend.choose(chosen, &owner).await.unwrap();
        assert_eq!(backend.allocate(&pool, &owner, None).await.unwrap(), chosen);
    }
}
