//! `EmbeddedNames`: names kept in the identity store, from which the embedded server answers.

use async_trait::async_trait;
use stead_model::name::{DomainName, Term};
use stead_model::port::DnsBackend;
use stead_model::record::{DnsName, dns_key};
use stead_model::registry::Registry;
use stead_model::{Error, Kind, Result};

/// Names as records, changed by compare-and-swap.
pub struct EmbeddedNames {
    registry: Registry,
}

impl EmbeddedNames {
    /// Names kept in this store.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }
}

fn stale(name: &DomainName, stands: Term, term: Term) -> Error {
    Error::precondition(format!(
        "'{name}' was written with term {stands}: term {term} comes too late"
    ))
}

#[async_trait]
impl DnsBackend for EmbeddedNames {
    async fn upsert(&self, name: &DnsName) -> Result<()> {
        if name.addresses.is_empty() {
            return Err(Error::invalid(format!(
                "'{}' would have no address: an answer is never empty",
                name.name
            )));
        }
        let key = dns_key(&name.name);
        let edit = |stands: &mut DnsName| {
            if name.term < stands.term {
                return Err(stale(&name.name, stands.term, name.term));
            }
            stands.clone_from(name);
            Ok(())
        };
        // It is created or changed; between the two somebody may delete it, once.
        for _ in 0..2 {
            self.registry.get_or_create(name.clone()).await?;
            match self.registry.change(&key, edit).await {
                Err(error) if error.kind() == Kind::NotFound => {}
                result => return result.map(drop),
            }
        }
        Err(Error::conflict(format!("'{}' is being deleted", name.name)))
    }

    async fn delete(&self, name: &DomainName, term: Term) -> Result<()> {
        let key = dns_key(name);
        let removed = self.registry.remove_if::<DnsName>(&key, |stored| {
            if term < stored.term {
                return Err(stale(name, stored.term, term));
            }
            Ok(true)
        });
        removed.await
    }

    async fn read(&self, name: &DomainName) -> Result<Option<DnsName>> {
        let stored = self.registry.get::<DnsName>(&dns_key(name)).await?;
        Ok(stored.map(|stored| stored.decoded.record))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stead_model::port::{MemoryStore, contract};

    use super::*;

    #[tokio::test]
    async fn it_keeps_the_contract() {
        let fresh = async || EmbeddedNames::new(Registry::new(Arc::new(MemoryStore::new())));
        contract::dns::all(fresh).await;
    }
}
