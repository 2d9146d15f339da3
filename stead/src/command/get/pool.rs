//! Pools of addresses.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use serde::Serialize;
use stead_model::name::{ClusterName, PoolName};
use stead_model::record::{AddressPool, Member, Record};
use stead_model::registry::Registry;

use super::row::{Row, joined, object, or_nothing};
use crate::failure::Failure;

/// Its headings.
pub(super) const HEAD: (&[&str], &[&str]) =
    (&["POOL", "CLUSTER", "SUBNETS", "USED", "INTERFACE"], &["RESERVED"]);

/// The records that it is made of.
pub(super) const RECORDS: &[&str] = &[AddressPool::KIND, Member::KIND];

#[derive(Serialize)]
struct View<'r> {
    cluster: &'r ClusterName,
    pool: &'r PoolName,
    subnets: Vec<String>,
    reserved: &'r BTreeSet<IpAddr>,
    interface: Option<&'r str>,
    used: usize,
}

/// Every pool.
pub(super) async fn rows(registry: &Registry) -> Result<Vec<Row>, Failure> {
    let (pools, members) =
        futures::try_join!(registry.list_all::<AddressPool>(), registry.list_all::<Member>())?;
    let mut used: HashMap<(&ClusterName, &PoolName), usize> = HashMap::new();
    for member in &members {
        if let Some(pool) = &member.pool {
            *used.entry((&member.id.cluster, pool)).or_default() += member.addresses.len();
        }
    }
    pools
        .iter()
        .map(|pool| row(pool, used.get(&(&pool.cluster, &pool.name)).copied().unwrap_or(0)))
        .collect()
}

fn row(pool: &AddressPool, used: usize) -> Result<Row, Failure> {
    let view = View {
        cluster: &pool.cluster,
        pool: &pool.name,
        subnets: pool.subnets.iter().map(ToString::to_string).collect(),
        reserved: &pool.reserved,
        interface: pool.interface.as_deref(),
        used,
    };
    Ok(Row {
        cluster: Some(pool.cluster.clone()),
        name: pool.name.to_string(),
        narrow: vec![
            pool.name.to_string(),
            pool.cluster.to_string(),
            joined(&view.subnets),
            used.to_string(),
            or_nothing(view.interface),
        ],
        more: vec![joined(&pool.reserved)],
        object: object(&view)?,
    })
}
