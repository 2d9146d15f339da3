//! What the names say now, in memory: an outage of the store leaves the last answers standing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use stead_model::name::DomainName;
use stead_model::port::Key;
use stead_model::record::{Address, DnsName, Record};
use stead_model::registry::Registry;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::follow::{Seen, follow};

/// How often everything is read anew although the watch lives.
const RELIST_INTERVAL: Duration = Duration::from_secs(300);

/// A name as a sort key: labels from the root down, so that what is below a name follows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Path(Vec<String>);

impl Path {
    fn of(name: &str) -> Self {
        Self(name.split('.').rev().map(str::to_owned).collect())
    }
}

/// The names, by what is asked of them.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Whether the store was read; before that, nothing is known not to exist.
    pub(crate) loaded: bool,
    /// Grows with every change.
    pub(crate) serial: u32,
    by_path: BTreeMap<Path, DnsName>,
    /// The members of each `_service._tcp.zone`.
    services: BTreeMap<Path, BTreeSet<DomainName>>,
    /// The names that go by each address.
    by_address: HashMap<IpAddr, BTreeSet<DomainName>>,
    /// The addresses that are members' own, and where that stands: a node's address leads back to
    /// no member.
    fixed: HashMap<IpAddr, BTreeSet<Key>>,
}

impl Names {
    /// What this name, in lower case and without the trailing dot, says.
    pub(crate) fn get(&self, name: &str) -> Option<&DnsName> {
        self.by_path.get(&Path::of(name))
    }

    /// The members that the service name lists.
    pub(crate) fn service(&self, name: &str) -> Vec<&DnsName> {
        let members = self.services.get(&Path::of(name)).into_iter().flatten();
        members.filter_map(|member| self.get(member.as_str())).collect()
    }

    /// Whether there is anything at or below the name.
    pub(crate) fn exists(&self, name: &str) -> bool {
        let path = Path::of(name);
        let below = |found: Option<&Path>| found.is_some_and(|it| it.0.starts_with(&path.0));
        below(self.by_path.range(path.clone()..).next().map(|it| it.0))
            || below(self.services.range(path.clone()..).next().map(|it| it.0))
    }

    /// The names that a static address belongs to; nothing where it is none.
    pub(crate) fn of_address(&self, address: IpAddr) -> Option<Vec<&DomainName>> {
        let names = self.by_address.get(&address)?;
        self.fixed.contains_key(&address).then(|| names.iter().collect())
    }

    fn put(&mut self, name: DnsName) {
        self.remove(&name.name.clone());
        let service = Path::of(&service_name(&name));
        self.services.entry(service).or_default().insert(name.name.clone());
        for address in &name.addresses {
            self.by_address.entry(*address).or_default().insert(name.name.clone());
        }
        self.by_path.insert(Path::of(name.name.as_str()), name);
        self.serial = self.serial.wrapping_add(1);
    }

    fn remove(&mut self, name: &DomainName) {
        let Some(old) = self.by_path.remove(&Path::of(name.as_str())) else { return };
        let service = Path::of(&service_name(&old));
        if let Some(members) = self.services.get_mut(&service) {
            members.remove(name);
            if members.is_empty() {
                self.services.remove(&service);
            }
        }
        for address in &old.addresses {
            if let Some(names) = self.by_address.get_mut(address) {
                names.remove(name);
                if names.is_empty() {
                    self.by_address.remove(address);
                }
            }
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// Makes these all the names there are; one that stays is never away in between.
    fn replace(&mut self, names: Vec<DnsName>) {
        let stay: BTreeSet<_> = names.iter().map(|it| it.name.clone()).collect();
        let gone: Vec<_> = self
            .by_path
            .values()
            .map(|it| it.name.clone())
            .filter(|it| !stay.contains(it))
            .collect();
        gone.iter().for_each(|name| self.remove(name));
        for name in names {
            if self.get(name.name.as_str()) != Some(&name) {
                self.put(name);
            }
        }
        self.loaded = true;
    }

    fn see_name(&mut self, seen: Seen<DnsName>) {
        match seen {
            Seen::Listed(names) => self.replace(names),
            Seen::Put(name) => self.put(name),
            Seen::Deleted(key) => {
                if let Some(name) = last_segment(&key) {
                    self.remove(&name);
                }
            }
        }
    }

    fn see_address(&mut self, seen: Seen<Address>) {
        match seen {
            Seen::Listed(all) => {
                self.fixed.clear();
                all.into_iter().for_each(|it| self.fix(it.key(), it.address));
            }
            Seen::Put(it) => self.fix(it.key(), it.address),
            Seen::Deleted(key) => {
                let Some(address) = last_segment(&key) else { return };
                if let Some(keys) = self.fixed.get_mut(&address) {
                    keys.remove(&key);
                    if keys.is_empty() {
                        self.fixed.remove(&address);
                    }
                }
            }
        }
    }

    fn fix(&mut self, key: Key, address: IpAddr) {
        self.fixed.entry(address).or_default().insert(key);
    }
}

/// What a record is named by: neither a DNS name nor an address contains a `/`.
fn last_segment<T: FromStr>(key: &Key) -> Option<T> {
    key.as_str().rsplit_once('/').and_then(|(_, last)| last.parse().ok())
}

/// The name of the SRV answer that lists a member (RFC 2782).
fn service_name(name: &DnsName) -> String {
    format!("_{}._tcp.{}", name.service, name.zone)
}

/// The names as the embedded server answers them; kept up to date by `follow`.
#[derive(Debug, Clone, Default)]
pub(crate) struct View(Arc<RwLock<Names>>);

impl View {
    /// A view that knows nothing yet: the server answers SERVFAIL until it does.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Follows the names and addresses in the store until cancelled.
    pub(crate) async fn follow(&self, registry: Registry, cancel: CancellationToken) {
        let (name_out, mut names) = mpsc::channel(64);
        let (address_out, mut addresses) = mpsc::channel(64);
        let never = || Arc::new(Notify::new());
        let follow_names = follow(registry.clone(), name_out, never(), RELIST_INTERVAL);
        let follow_addresses = follow(registry, address_out, never(), RELIST_INTERVAL);
        let work = async {
            tokio::join!(
                follow_names,
                follow_addresses,
                async {
                    while let Some(seen) = names.recv().await {
                        self.write().see_name(seen);
                    }
                },
                async {
                    while let Some(seen) = addresses.recv().await {
                        self.write().see_address(seen);
                    }
                },
            )
        };
        let _ = cancel.run_until_cancelled(work).await;
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Names> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn of(names: Vec<DnsName>, fixed: &[IpAddr]) -> Self {
        let view = Self::new();
        view.write().replace(names);
        for it in fixed {
            view.write().fix(Key::new(Address::KIND, &["c", &it.to_string()]), *it);
        }
        view
    }
}
