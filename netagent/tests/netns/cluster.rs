//! A cluster in memory: what the controller and the node plugin would have written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stead_model::clock::BootClock;
use stead_model::hold::{Event, Hold, Stage, Standing};
use stead_model::name::{Epoch, MemberKey, NodeId, Role, Term, VolumeId};
use stead_model::port::{AddressBackend, MemoryStore};
use stead_model::record::{
    Address, AddressPool, Cluster as ClusterRecord, HoldKey, HoldRecord, Member, NodeLease,
    Service, address_key, hold_key, node_key,
};
use stead_model::registry::Registry;
use stead_netagent::dns::EmbeddedNames;
use stead_netagent::{Agent, Config, L2Addresses};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const TTL: Duration = Duration::from_secs(3);

/// A store with the cluster `prod`, the service `mongo` and the pool of the test network.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) registry: Registry,
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let registry = Registry::new(Arc::clone(&store) as _);
        let cluster = Self { store, registry };
        let name = "prod".parse().unwrap();
        let zone = "prod.stead.internal".parse().unwrap();
        cluster.registry.create(ClusterRecord { name, zone }).await.unwrap();
        let service = Service {
            cluster: "prod".parse().unwrap(),
            name: "mongo".parse().unwrap(),
            port: Some(27017),
            members: BTreeSet::new(),
        };
        cluster.registry.create(service).await.unwrap();
        let pool = AddressPool {
            cluster: "prod".parse().unwrap(),
            name: "p".parse().unwrap(),
            subnets: vec!["10.9.0.0/24".parse().unwrap(), "fd09::/64".parse().unwrap()],
            reserved: BTreeSet::new(),
            interface: None,
        };
        cluster.registry.create(pool).await.unwrap();
        cluster
    }

    /// Makes `mongo-N` with the addresses 10.9.0.(100+N) and fd09::(100+N).
    pub(crate) async fn member(&self, ordinal: u32) -> MemberKey {
        let id: MemberKey = format!("prod/mongo-{ordinal}").parse().unwrap();
        let addresses = [v4(ordinal), v6(ordinal)].map(|it| it.parse::<IpAddr>().unwrap());
        let backend = L2Addresses::new(self.registry.clone());
        let key = stead_model::record::pool_key(&id.cluster, &"p".parse().unwrap());
        let pool = self.registry.require::<AddressPool>(&key).await.unwrap();
        for address in addresses {
            backend.allocate(&pool, &id, Some(address)).await.unwrap();
        }
        let member = Member {
            id: id.clone(),
            service: "mongo".parse().unwrap(),
            dns_name: format!("mongo-{ordinal}.prod.stead.internal").parse().unwrap(),
            addresses: addresses.to_vec(),
            pool: Some("p".parse().unwrap()),
            volumes: BTreeMap::from([(Role::primary(), volume(&id))]),
        };
        self.registry.create(member).await.unwrap();
        let of = HoldKey::Member(id.clone());
        self.registry.create(HoldRecord { of, hold: Hold::default() }).await.unwrap();
        id
    }

    async fn step(&self, member: &MemberKey, event: impl Fn(&Hold) -> Event + Sync) -> Hold {
        let key = hold_key(&HoldKey::Member(member.clone()));
        let edit = |record: &mut HoldRecord| {
            record.hold = record.hold.step(event(&record.hold))?.0;
            Ok(())
        };
        self.registry.change(&key, edit).await.unwrap().hold.clone()
    }

    /// What `ControllerPublishVolume` to `NodePublishVolume` write; the holder before is over.
    pub(crate) async fn publish(&self, member: &MemberKey, node: &str) -> Term {
        let epoch = self.lease(node).await.unwrap().epoch;
        let hold = self
            .step(member, |_| Event::Claim {
                node: self::node(node),
                epoch,
                volume: volume(member),
                readonly: false,
                access: "mount".to_owned(),
                standing: Standing::Over,
            })
            .await;
        self.reach(member, node, Stage::Published).await;
        hold.term
    }

    pub(crate) async fn reach(&self, member: &MemberKey, node: &str, stage: Stage) {
        self.step(member, |hold| Event::Reach {
            node: self::node(node),
            term: hold.term,
            volume: volume(member),
            stage,
        })
        .await;
    }

    pub(crate) async fn hold(&self, member: &MemberKey) -> Hold {
        let key = hold_key(&HoldKey::Member(member.clone()));
        self.registry.require::<HoldRecord>(&key).await.unwrap().hold.clone()
    }

    pub(crate) async fn address(&self, member: &MemberKey, address: &str) -> Address {
        let key = address_key(&member.cluster, address.parse().unwrap());
        self.registry.require::<Address>(&key).await.unwrap().decoded.record
    }

    pub(crate) async fn lease(&self, node: &str) -> Option<NodeLease> {
        let stored = self.registry.get::<NodeLease>(&node_key(&self::node(node))).await.unwrap();
        stored.map(|stored| stored.decoded.record)
    }

    pub(crate) async fn agent(&self, node: &str, state_dir: &Path) -> Agent {
        let config = Config {
            node: self::node(node),
            ttl: TTL,
            node_addresses: vec!["10.9.0.1".parse().unwrap()],
            topology: BTreeMap::new(),
            state_dir: state_dir.to_owned(),
        };
        let addresses = Arc::new(L2Addresses::new(self.registry.clone()));
        let dns = Arc::new(EmbeddedNames::new(self.registry.clone()));
        let registry = self.registry.clone();
        Agent::new(config, registry, addresses, dns, Arc::new(BootClock)).await.unwrap()
    }

    /// Starts an agent and waits for its lease.
    pub(crate) async fn start(&self, node: &str, state_dir: &Path) -> Running {
        let agent = self.agent(node, state_dir).await;
        let service = agent.service();
        let mut lease = agent.lease().subscribe();
        let cancel = CancellationToken::new();
        let task = tokio::spawn(agent.run(cancel.clone()));
        let won = lease.wait_for(Option::is_some).await.unwrap().unwrap();
        Running { service, cancel, task, epoch: won.epoch, lease }
    }
}

/// An agent at work.
pub(crate) struct Running {
    pub(crate) service: stead_netagent::Service,
    pub(crate) cancel: CancellationToken,
    pub(crate) task: JoinHandle<()>,
    pub(crate) epoch: Epoch,
    pub(crate) lease: tokio::sync::watch::Receiver<Option<stead_netagent::Lease>>,
}

pub(crate) fn v4(ordinal: u32) -> String {
    format!("10.9.0.{}", 100 + ordinal)
}

pub(crate) fn v6(ordinal: u32) -> String {
    format!("fd09::{}", 100 + ordinal)
}

pub(crate) fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn volume(member: &MemberKey) -> VolumeId {
    format!("vol-{}", member.member).parse().unwrap()
}
