//! The records of the identity store.
//!
//! A record is JSON with a version. A reader keeps the top-level fields it does not know and writes
//! them back, so that two versions of Stead can share a store during an upgrade.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes as Buffer;
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::hold::Hold;
use crate::name::{
    Bytes, ClusterName, DomainName, Epoch, GroupSnapshotId, MemberKey, MemberName, NodeId,
    PoolName, Role, ServiceName, SnapshotId, Term, VolumeId,
};
use crate::port::Key;
use crate::{Error, Result};

/// The version that this program writes.
pub const VERSION: u32 = 1;

/// A record: what it is stored under.
pub trait Record: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The first segment of its key, and the word for it in messages.
    const KIND: &'static str;

    /// Where it stands.
    fn key(&self) -> Key;
}

/// A cluster: one DNS zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// The DNS zone of its members.
    pub zone: DomainName,
}

/// A stateful service of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// Its name.
    pub name: ServiceName,
    /// The port its members listen on, for SRV answers.
    pub port: Option<u16>,
    /// The names of its members.
    pub members: BTreeSet<MemberName>,
}

/// A member: the identity that outlives containers and nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its cluster and name.
    pub id: MemberKey,
    /// The service it belongs to.
    pub service: ServiceName,
    /// Its DNS name, for ever.
    pub dns_name: DomainName,
    /// Its static addresses, at most one of each family; empty means that it goes by its node's.
    pub addresses: Vec<IpAddr>,
    /// The pool that the addresses are from.
    pub pool: Option<PoolName>,
    /// Its volumes by role.
    pub volumes: BTreeMap<Role, VolumeId>,
}

/// How far a volume's file system has come, and so whether it may still be formatted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Nothing was ever written to it by us.
    #[default]
    Never,
    /// A file system is being made: it was blank when that began and was never mounted since.
    Begun(String),
    /// It has this file system and perhaps data: nothing formats it again.
    Done(String),
    /// A workload had the device itself and may have written anywhere: nothing formats it.
    Raw,
}

/// Where a volume or a snapshot is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is being made: a repeat of the call completes it.
    Creating,
    /// It can be used.
    Ready,
    /// It is being deleted: a repeat of the call completes it.
    Deleting,
}

/// What a volume was filled with when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Another volume.
    Volume(VolumeId),
    /// A snapshot.
    Snapshot(SnapshotId),
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its handle.
    pub id: VolumeId,
    /// The name that the orchestrator asked for it by.
    pub name: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Its size.
    pub size: Bytes,
    /// What it was filled with.
    pub origin: Option<Origin>,
    /// The parameters it was made with, secrets excluded.
    pub parameters: BTreeMap<String, String>,
    /// The mutable parameters as they are now.
    pub mutable_parameters: BTreeMap<String, String>,
    /// The identity as handed to the orchestrator: frozen when the volume was made.
    pub context: BTreeMap<String, String>,
    /// The member it belongs to; none for a plain volume.
    pub member: Option<MemberKey>,
    /// What it is to its member.
    pub role: Option<Role>,
    /// Where it can be reached: topology segments, empty for everywhere.
    pub topology: BTreeMap<String, String>,
    /// Whether it may still be formatted.
    pub format: Format,
}

impl Volume {
    /// The record of who holds it: its member's, or its own where it has none.
    pub fn hold_key(&self) -> HoldKey {
        match &self.member {
            Some(member) => HoldKey::Member(member.clone()),
            None => HoldKey::Volume(self.id.clone()),
        }
    }

    /// Whether it carries its member's network identity.
    pub fn is_primary(&self) -> bool {
        self.member.is_some() && self.role.as_ref().is_none_or(Role::is_primary)
    }
}

/// What is held as one: a member with all its volumes, or a plain volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldKey {
    /// A member.
    Member(MemberKey),
    /// A volume without a member.
    Volume(VolumeId),
}

impl std::fmt::Display for HoldKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HoldKey::Member(member) => write!(f, "member {member}"),
            HoldKey::Volume(volume) => write!(f, "volume {volume}"),
        }
    }
}

/// Who holds a member or a plain volume. A member's stays when the member is deleted: a term never
/// goes down, not even for a later member of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRecord {
    /// What is held.
    pub of: HoldKey,
    /// The hold.
    pub hold: Hold,
}

/// A node and its right to act, renewed by its agent; see [`crate::lease`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLease {
    /// The node.
    pub node: NodeId,
    /// How often it lost its lease, plus one.
    pub epoch: Epoch,
    /// How often the lease was renewed: observers time the changes of this number by their own clock.
    pub renewals: u64,
    /// How long a renewal is good for.
    pub ttl_ms: u64,
    /// Where the node is: topology segments.
    pub topology: BTreeMap<String, String>,
    /// The node's own addresses, which members without a static one go by.
    pub addresses: Vec<IpAddr>,
}

impl NodeLease {
    /// How long a renewal is good for.
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }
}

/// A pool of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// Its name.
    pub name: PoolName,
    /// Its networks: addresses come from nowhere else.
    pub subnets: Vec<IpNet>,
    /// Addresses that are never given out, such as gateways.
    pub reserved: BTreeSet<IpAddr>,
    /// The interface that carries the addresses; none means the one with an address in the subnet.
    pub interface: Option<String>,
}

/// A static address and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// The member that has it.
    pub owner: MemberKey,
    /// The node that the network sends it to.
    pub node: Option<NodeId>,
    /// The term of the last assignment.
    pub term: Term,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its handle.
    pub id: SnapshotId,
    /// The name that the orchestrator asked for it by.
    pub name: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// The volume it was taken of.
    pub volume: VolumeId,
    /// The size of that volume then.
    pub size: Bytes,
    /// When it was taken.
    pub taken_at: Option<SystemTime>,
    /// The group it was taken in.
    pub group: Option<GroupSnapshotId>,
    /// What the volume's format was then: a restored volume inherits it.
    pub format: Format,
}

/// A group snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSnapshot {
    /// Its handle.
    pub id: GroupSnapshotId,
    /// The name that the orchestrator asked for it by.
    pub name: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Its snapshots, and the volume of each.
    pub snapshots: BTreeMap<SnapshotId, VolumeId>,
}

/// Which handle a name that an orchestrator chose belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameIndex {
    /// The kind of the named object: `volume`, `snapshot`, `group` or `address`.
    pub of: String,
    /// The name.
    pub name: String,
    /// The handle.
    pub id: String,
}

/// What a DNS name says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsName {
    /// The name.
    pub name: DomainName,
    /// The zone it stands in.
    pub zone: DomainName,
    /// The service whose SRV answer lists it.
    pub service: ServiceName,
    /// The port in that answer.
    pub port: Option<u16>,
    /// What A and AAAA answer; never empty.
    pub addresses: Vec<IpAddr>,
    /// The term of the holder that wrote it.
    pub term: Term,
}

macro_rules! record {
    ($($name:ident, $kind:literal, |$record:ident| $key:expr;)*) => {
        $(
            impl Record for $name {
                const KIND: &'static str = $kind;
                fn key(&self) -> Key {
                    let $record = self;
                    $key
                }
            }
        )*
    };
}

record! {
    Cluster, "cluster", |r| cluster_key(&r.name);
    Service, "service", |r| service_key(&r.cluster, &r.name);
    Member, "member", |r| member_key(&r.id);
    Volume, "volume", |r| volume_key(&r.id);
    HoldRecord, "hold", |r| hold_key(&r.of);
    NodeLease, "node", |r| node_key(&r.node);
    AddressPool, "pool", |r| pool_key(&r.cluster, &r.name);
    Address, "address", |r| address_key(&r.owner.cluster, r.address);
    Snapshot, "snapshot", |r| snapshot_key(&r.id);
    GroupSnapshot, "group", |r| group_key(&r.id);
    NameIndex, "name", |r| name_key(&r.of, &r.name);
    DnsName, "dns", |r| dns_key(&r.name);
}

/// The key of a [`Cluster`].
pub fn cluster_key(name: &ClusterName) -> Key {
    Key::new(Cluster::KIND, &[name.as_str()])
}

/// The key of a [`Service`].
pub fn service_key(cluster: &ClusterName, name: &ServiceName) -> Key {
    Key::new(Service::KIND, &[cluster.as_str(), name.as_str()])
}

/// The key of a [`Member`].
pub fn member_key(id: &MemberKey) -> Key {
    Key::new(Member::KIND, &[id.cluster.as_str(), id.member.as_str()])
}

/// The key of a [`Volume`].
pub fn volume_key(id: &VolumeId) -> Key {
    Key::new(Volume::KIND, &[id.as_str()])
}

/// The key of a [`HoldRecord`].
pub fn hold_key(of: &HoldKey) -> Key {
    match of {
        HoldKey::Member(member) => {
            Key::new(HoldRecord::KIND, &["member", member.cluster.as_str(), member.member.as_str()])
        }
        HoldKey::Volume(volume) => Key::new(HoldRecord::KIND, &["volume", volume.as_str()]),
    }
}

/// The key of a [`NodeLease`].
pub fn node_key(node: &NodeId) -> Key {
    Key::new(NodeLease::KIND, &[node.as_str()])
}

/// The key of an [`AddressPool`].
pub fn pool_key(cluster: &ClusterName, name: &PoolName) -> Key {
    Key::new(AddressPool::KIND, &[cluster.as_str(), name.as_str()])
}

/// The key of an [`Address`]: one address has one owner in a cluster.
pub fn address_key(cluster: &ClusterName, address: IpAddr) -> Key {
    Key::new(Address::KIND, &[cluster.as_str(), &address.to_string()])
}

/// The key of a [`Snapshot`].
pub fn snapshot_key(id: &SnapshotId) -> Key {
    Key::new(Snapshot::KIND, &[id.as_str()])
}

/// The key of a [`GroupSnapshot`].
pub fn group_key(id: &GroupSnapshotId) -> Key {
    Key::new(GroupSnapshot::KIND, &[id.as_str()])
}

/// The key of a [`NameIndex`]: a digest, because a name may hold any character.
pub fn name_key(of: &str, name: &str) -> Key {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(name.as_bytes());
    let text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Key::new(NameIndex::KIND, &[of, &text])
}

/// The key of a [`DnsName`].
pub fn dns_key(name: &DomainName) -> Key {
    Key::new(DnsName::KIND, &[name.as_str()])
}

/// A decoded record with what this version did not understand of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<R> {
    /// The record.
    pub record: R,
    unknown: Map<String, Value>,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Envelope<R> {
    version: u32,
    #[serde(flatten)]
    record: R,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl<R: Record> Decoded<R> {
    /// A record that was never stored.
    pub fn new(record: R) -> Self {
        Self { record, unknown: Map::new(), version: VERSION }
    }

    /// Reads a stored record. A text that is no such record is [`Kind::Corrupt`](crate::Kind).
    pub fn decode(value: &[u8]) -> Result<Self> {
        let Envelope { version, record, unknown } = serde_json::from_slice::<Envelope<R>>(value)
            .map_err(|error| {
                Error::corrupt(format!("the store holds a {} record that cannot be read", R::KIND))
                    .because(error)
            })?;
        Ok(Self { record, unknown, version })
    }

    /// The record as it is stored, unknown fields and a later version number included.
    pub fn encode(&self) -> Result<Buffer> {
        let envelope = Envelope {
            version: self.version.max(VERSION),
            record: self.record.clone(),
            unknown: self.unknown.clone(),
        };
        serde_json::to_vec(&envelope).map(Buffer::from).map_err(|error| {
            Error::corrupt(format!("a {} record cannot be written", R::KIND)).because(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> NodeLease {
        NodeLease {
            node: "a".parse().unwrap(),
            epoch: Epoch(1),
            renewals: 7,
            ttl_ms: 5000,
            topology: BTreeMap::from([("zone".into(), "z1".into())]),
            addresses: vec!["10.0.0.1".parse().unwrap()],
        }
    }

    #[test]
    fn what_a_later_version_wrote_survives() {
        let text = Decoded::new(lease()).encode().unwrap();
        let mut value: Value = serde_json::from_slice(&text).unwrap();
        value["version"] = 9.into();
        value["watchdog"] = "armed".into();
        let mut decoded = Decoded::<NodeLease>::decode(value.to_string().as_bytes()).unwrap();
        decoded.record.renewals = 8;
        let again: Value = serde_json::from_slice(&decoded.encode().unwrap()).unwrap();
        assert_eq!(again["watchdog"], "armed");
        assert_eq!(again["version"], 9);
        assert_eq!(again["renewals"], 8);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_corrupt() {
        let error = Decoded::<NodeLease>::decode(b"{\"version\":1}").unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Corrupt);
    }

    #[test]
    fn a_name_of_any_characters_has_a_key() {
        let key = name_key("volume", "a/b\u{1F980}");
        assert!(key.as_str().starts_with("name/volume/"));
        assert_eq!(key.as_str().len(), "name/volume/".len() + 64);
    }
}
