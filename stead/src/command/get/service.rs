//! Services and their members.

use std::collections::BTreeSet;

use serde::Serialize;
use stead_model::name::{ClusterName, MemberName, ServiceName};
use stead_model::record::{Record, Service};
use stead_model::registry::Registry;

use super::row::{Row, joined, object, or_nothing};
use crate::failure::Failure;

/// Its headings.
pub(super) const HEAD: (&[&str], &[&str]) =
    (&["SERVICE", "CLUSTER", "MEMBERS", "PORT"], &["MEMBER-NAMES"]);

/// The records that it is made of.
pub(super) const RECORDS: &[&str] = &[Service::KIND];

#[derive(Serialize)]
struct View<'r> {
    cluster: &'r ClusterName,
    service: &'r ServiceName,
    port: Option<u16>,
    members: &'r BTreeSet<MemberName>,
}

/// Every service.
pub(super) async fn rows(registry: &Registry) -> Result<Vec<Row>, Failure> {
    registry.list_all::<Service>().await?.iter().map(|service| row(service)).collect()
}

fn row(service: &Service) -> Result<Row, Failure> {
    let view = View {
        cluster: &service.cluster,
        service: &service.name,
        port: service.port,
        members: &service.members,
    };
    Ok(Row {
        cluster: Some(service.cluster.clone()),
        name: service.name.to_string(),
        narrow: vec![
            service.name.to_string(),
            service.cluster.to_string(),
            service.members.len().to_string(),
            or_nothing(service.port),
        ],
        more: vec![joined(&service.members)],
        object: object(&view)?,
    })
}
