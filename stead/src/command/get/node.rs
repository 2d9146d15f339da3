//! Nodes and their leases.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Serialize;
use stead_model::name::{Epoch, NodeId};
use stead_model::record::{HoldRecord, NodeLease, Record};
use stead_model::registry::Registry;

use super::row::{Row, joined, object};
use crate::failure::Failure;

/// Its headings.
pub(super) const HEAD: (&[&str], &[&str]) =
    (&["NODE", "EPOCH", "HOLDS", "LEASE-TTL", "ADDRESSES", "TOPOLOGY"], &["RENEWALS"]);

/// The records that it is made of.
pub(super) const RECORDS: &[&str] = &[NodeLease::KIND, HoldRecord::KIND];

#[derive(Serialize)]
struct View<'r> {
    node: &'r NodeId,
    epoch: Epoch,
    renewals: u64,
    ttl_ms: u64,
    holds: usize,
    addresses: &'r [IpAddr],
    topology: &'r BTreeMap<String, String>,
}

/// Every node.
pub(super) async fn rows(registry: &Registry) -> Result<Vec<Row>, Failure> {
    let (nodes, holds) =
        futures::try_join!(registry.list_all::<NodeLease>(), registry.list_all::<HoldRecord>())?;
    let mut held: HashMap<&NodeId, usize> = HashMap::new();
    for holder in holds.iter().filter_map(|stored| stored.hold.holder.as_ref()) {
        *held.entry(&holder.node).or_default() += 1;
    }
    nodes.iter().map(|node| row(node, held.get(&node.node).copied().unwrap_or(0))).collect()
}

fn row(lease: &NodeLease, holds: usize) -> Result<Row, Failure> {
    let view = View {
        node: &lease.node,
        epoch: lease.epoch,
        renewals: lease.renewals,
        ttl_ms: lease.ttl_ms,
        holds,
        addresses: &lease.addresses,
        topology: &lease.topology,
    };
    Ok(Row {
        cluster: None,
        name: lease.node.to_string(),
        narrow: vec![
            lease.node.to_string(),
            lease.epoch.to_string(),
            holds.to_string(),
            format!("{} ms", lease.ttl_ms),
            joined(&lease.addresses),
            joined(lease.topology.iter().map(|(key, value)| format!("{key}={value}"))),
        ],
        more: vec![lease.renewals.to_string()],
        object: object(&view)?,
    })
}
