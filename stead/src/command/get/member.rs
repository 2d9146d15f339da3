//! Members, with who holds them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Serialize;
use stead_model::hold::{Hold, Stage};
use stead_model::name::{
    ClusterName, DomainName, Epoch, MemberKey, MemberName, NodeId, PoolName, Role, ServiceName,
    Term, VolumeId,
};
use stead_model::record::{HoldKey, HoldRecord, Member, NodeLease, Record};
use stead_model::registry::Registry;

use super::row::{Row, joined, object, or_nothing};
use super::volume::stage;
use crate::failure::Failure;

/// Its headings.
pub(super) const HEAD: (&[&str], &[&str]) = (
    &["MEMBER", "SERVICE", "NODE", "TERM", "STAGE", "ADDRESS", "DNS-NAME", "VOLUMES"],
    &["CLUSTER", "POOL", "EPOCH", "LEASE"],
);

/// The records that it is made of; a node's, which changes with every renewal, is read only.
pub(super) const RECORDS: &[&str] = &[Member::KIND, HoldRecord::KIND];

#[derive(Serialize)]
struct View {
    cluster: ClusterName,
    member: MemberName,
    service: ServiceName,
    dns_name: DomainName,
    addresses: Vec<IpAddr>,
    static_addresses: bool,
    pool: Option<PoolName>,
    volumes: BTreeMap<Role, VolumeId>,
    term: Term,
    holder: Option<HolderView>,
}

#[derive(Serialize)]
struct HolderView {
    node: NodeId,
    epoch: Epoch,
    stage: Option<Stage>,
    lease: &'static str,
}

/// Every member.
pub(super) async fn rows(registry: &Registry) -> Result<Vec<Row>, Failure> {
    let (members, holds, nodes) = futures::try_join!(
        registry.list_all::<Member>(),
        registry.list_all::<HoldRecord>(),
        registry.list_all::<NodeLease>(),
    )?;
    let holds: HashMap<&MemberKey, &Hold> = holds
        .iter()
        .filter_map(|stored| match &stored.of {
            HoldKey::Member(member) => Some((member, &stored.hold)),
            HoldKey::Volume(_) => None,
        })
        .collect();
    let nodes: HashMap<&NodeId, &NodeLease> =
        nodes.iter().map(|stored| (&stored.node, &**stored)).collect();
    let nobody = Hold::default();
    members
        .iter()
        .map(|member| row(&view(member, holds.get(&member.id).copied().unwrap_or(&nobody), &nodes)))
        .collect()
}

fn view(member: &Member, hold: &Hold, nodes: &HashMap<&NodeId, &NodeLease>) -> View {
    let node = hold.holder.as_ref().and_then(|holder| nodes.get(&holder.node));
    let holder = hold.holder.as_ref().map(|holder| HolderView {
        node: holder.node.clone(),
        epoch: holder.epoch,
        // The least that any of its volumes has come to: the member is as far as the last of them.
        stage: holder.volumes.values().map(|usage| usage.stage).min(),
        // Whether a lease of the right epoch still runs can only be seen by watching it.
        lease: match node {
            None => "unknown",
            Some(node) if node.epoch > holder.epoch => "lost",
            Some(_) => "current",
        },
    });
    let static_addresses = !member.addresses.is_empty();
    let addresses = match (static_addresses, node) {
        (false, Some(node)) => node.addresses.clone(),
        _ => member.addresses.clone(),
    };
    View {
        cluster: member.id.cluster.clone(),
        member: member.id.member.clone(),
        service: member.service.clone(),
        dns_name: member.dns_name.clone(),
        addresses,
        static_addresses,
        pool: member.pool.clone(),
        volumes: member.volumes.clone(),
        term: hold.term,
        holder,
    }
}

fn row(view: &View) -> Result<Row, Failure> {
    let holder = view.holder.as_ref();
    let stage = stage(holder.and_then(|holder| holder.stage));
    Ok(Row {
        cluster: Some(view.cluster.clone()),
        name: view.member.to_string(),
        narrow: vec![
            view.member.to_string(),
            view.service.to_string(),
            or_nothing(holder.map(|holder| &holder.node)),
            view.term.to_string(),
            stage.to_owned(),
            joined(&view.addresses),
            view.dns_name.to_string(),
            joined(view.volumes.iter().map(|(role, id)| format!("{role}={id}"))),
        ],
        more: vec![
            view.cluster.to_string(),
            or_nothing(view.pool.as_ref()),
            or_nothing(holder.map(|holder| holder.epoch)),
            or_nothing(holder.map(|holder| holder.lease)),
        ],
        object: object(view)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stead_model::hold::{Holder, Use};

    #[test]
    fn a_member_without_a_static_address_goes_by_its_nodes() {
        let member = Member {
            id: "prod/mongo-0".parse().unwrap(),
            service: "mongo".parse().unwrap(),
            dns_name: "mongo-0.prod.stead.internal".parse().unwrap(),
            addresses: Vec::new(),
            pool: None,
            volumes: BTreeMap::from([(Role::primary(), "vol-1".parse().unwrap())]),
        };
        let lease = NodeLease {
            node: "a".parse().unwrap(),
            epoch: Epoch(2),
            renewals: 1,
            ttl_ms: 5000,
            topology: BTreeMap::new(),
            addresses: vec!["10.0.0.1".parse().unwrap()],
        };
        let usage = Use { stage: Stage::Staged, readonly: false, access: String::new() };
        let volumes = BTreeMap::from([("vol-1".parse().unwrap(), usage)]);
        let holder = Holder { node: lease.node.clone(), epoch: Epoch(1), volumes };
        let hold = Hold { term: Term(3), holder: Some(holder), ..Hold::default() };
        let nodes = HashMap::from([(&lease.node, &lease)]);
        let row = row(&view(&member, &hold, &nodes)).unwrap();
        assert_eq!(
            row.cells(true).join(" "),
            "mongo-0 mongo a 3 staged 10.0.0.1 mongo-0.prod.stead.internal data=vol-1 \
             prod - 1 lost"
        );
        assert_eq!(row.object["holder"]["stage"], "staged");
    }
}
