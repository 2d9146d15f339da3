//! What has to be true for a process to be of use.

use stead_model::port::Page;
use stead_model::record::{Cluster, Record};
use stead_model::registry::Registry;
use stead_netagent::LeaseView;
use stead_proto::stead::v1::GetStatusRequest;
use stead_proto::stead::v1::agent_client::AgentClient;
use tonic::transport::Channel;

use crate::serve::Check;

/// The store can be read.
pub(super) fn store(registry: &Registry) -> Check {
    let registry = registry.clone();
    Box::new(move || {
        let registry = registry.clone();
        Box::pin(async move {
            let page = Page { after: None, limit: 1 };
            let read = registry.store().list(&format!("{}/", Cluster::KIND), page).await;
            read.map(drop).map_err(|error| format!("the store cannot be read: {}", error.chain()))
        })
    })
}

/// This node's lease runs.
pub(super) fn lease(lease: LeaseView) -> Check {
    Box::new(move || {
        let runs = lease.remaining().is_some();
        Box::pin(async move { if runs { Ok(()) } else { Err(no_lease()) } })
    })
}

/// The agent of this host answers, and the node's lease runs.
pub(super) fn agent(agent: Channel) -> Check {
    Box::new(move || {
        let mut agent = AgentClient::new(agent.clone());
        Box::pin(async move {
            let status = agent.get_status(GetStatusRequest {}).await.map_err(|status| {
                format!("the network agent does not answer: {}", status.message())
            })?;
            match status.into_inner().lease_remaining_ms {
                0 => Err(no_lease()),
                _ => Ok(()),
            }
        })
    })
}

fn no_lease() -> String {
    "this node has no lease: no member may run here until the store answers".to_owned()
}
