//! The gRPC service that the node plugin of this host asks.

use std::sync::Arc;
use std::time::Duration;

use stead_model::Error as ModelError;
use stead_model::name::MemberKey;
use stead_proto::status::status;
use stead_proto::stead::v1::agent_server::Agent;
use stead_proto::stead::v1::{
    ConvergeRequest, ConvergeResponse, GetStatusRequest, GetStatusResponse, HeldAddress,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::reconcile::Reconciler;

/// How long a call waits for an agent that has just been started: reading the store takes a moment, and
/// an orchestrator that is refused meanwhile repeats only after seconds.
const START_WAIT: Duration = Duration::from_secs(5);

/// `stead.v1.Agent`, answered by this process.
#[derive(Clone)]
pub struct Service {
    reconciler: Arc<Reconciler>,
    ready: Arc<watch::Sender<bool>>,
}

impl Service {
    pub(crate) fn new(reconciler: Arc<Reconciler>, ready: Arc<watch::Sender<bool>>) -> Self {
        Self { reconciler, ready }
    }

    async fn converge(&self, request: ConvergeRequest) -> Result<ConvergeResponse, ModelError> {
        let member =
            MemberKey { cluster: request.cluster.parse()?, member: request.member.parse()? };
        let mut ready = self.ready.subscribe();
        match tokio::time::timeout(START_WAIT, ready.wait_for(|ready| *ready)).await {
            Ok(Ok(_)) => {}
            _ => return Err(Error::Starting.into()),
        }
        // Detached from the call: a caller that gives up must not leave the member half way.
        let reconciler = Arc::clone(&self.reconciler);
        let work = tokio::spawn(async move { reconciler.converge(&member).await });
        let addresses = work.await.map_err(|error| {
            ModelError::unavailable("the agent is stopping: repeat the call").because(error)
        })??;
        Ok(ConvergeResponse { addresses: addresses.iter().map(ToString::to_string).collect() })
    }
}

#[tonic::async_trait]
impl Agent for Service {
    async fn converge(
        &self,
        request: Request<ConvergeRequest>,
    ) -> Result<Response<ConvergeResponse>, Status> {
        self.converge(request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let lease = self.reconciler.lease.current();
        let remaining = self.reconciler.lease.remaining().unwrap_or_default();
        let mut addresses = Vec::new();
        for (member, slot) in self.reconciler.slots.all() {
            let up = slot.up.lock().await;
            for up in up.iter().filter(|up| up.announcing.is_some()) {
                addresses.extend(up.carried.iter().map(|it| HeldAddress {
                    address: it.address.to_string(),
                    interface: it.link.name.clone(),
                    member: member.to_string(),
                    term: up.term.0,
                }));
            }
        }
        Ok(Response::new(GetStatusResponse {
            node: self.reconciler.node.to_string(),
            epoch: lease.map_or(0, |lease| lease.epoch.0),
            lease_remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
            addresses,
        }))
    }
}
