//! The network agent: inside this process, or the way to one beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use stead_model::clock::BootClock;
use stead_model::name::NodeId;
use stead_model::registry::Registry;
use stead_netagent::dns::EmbeddedNames;
use stead_netagent::{Agent, Config, L2Addresses, LeaseView};
use stead_proto::stead::v1::agent_server::{self, AgentServer};
use stead_proto::transport::Listener;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};

use super::{health, host};
use crate::failure::Failure;
use crate::option::{NodeIdentity, SocketPath};
use crate::serve::{Check, Grpc, Process, listen};

/// What an agent says of its node.
pub(super) struct Terms<'t> {
    pub(super) identity: &'t NodeIdentity,
    pub(super) node: &'t NodeId,
    pub(super) topology: &'t BTreeMap<String, String>,
}

/// Where the agent is reached.
pub(super) enum Door {
    /// It runs as a process of its own.
    Beside(SocketPath),
    /// It is to run inside, and answers here.
    Inside(SocketPath, Listener),
}

/// The way to the agent.
pub(super) struct Way {
    channel: Channel,
    lease: Option<LeaseView>,
}

impl Way {
    /// For the node plugin.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Whether this node's lease runs.
    pub(super) fn check(&self) -> Check {
        match &self.lease {
            Some(lease) => health::lease(lease.clone()),
            None => health::agent(self.channel()),
        }
    }
}

/// The socket of an agent, where none was named.
pub(super) fn default_socket(state_dir: &Path) -> Result<SocketPath, Failure> {
    SocketPath::within(state_dir, "agent.sock")
        .map_err(|why| Failure::usage(format!("--state-dir: {why}")))
}

impl Door {
    /// The agent at this socket, or one of our own, whose socket is bound now.
    pub(super) async fn open(
        beside: Option<SocketPath>,
        state_dir: &Path,
    ) -> Result<Self, Failure> {
        match beside {
            Some(socket) => Ok(Self::Beside(socket)),
            None => Self::inside(default_socket(state_dir)?).await,
        }
    }

    /// An agent of our own at this socket.
    pub(super) async fn inside(socket: SocketPath) -> Result<Self, Failure> {
        let listener = listen(&socket).await?;
        Ok(Self::Inside(socket, listener))
    }

    /// Starts the agent, where it is ours.
    pub(super) async fn spawn(
        self,
        process: &Process,
        terms: Terms<'_>,
        state_dir: &Path,
        registry: &Registry,
    ) -> Result<Way, Failure> {
        let (socket, listener) = match self {
            Self::Beside(socket) => return Ok(Way { channel: channel(&socket)?, lease: None }),
            Self::Inside(socket, listener) => (socket, listener),
        };
        let config = Config {
            node: terms.node.clone(),
            ttl: terms.identity.lease_ttl,
            node_addresses: host::addresses(terms.identity),
            topology: terms.topology.clone(),
            state_dir: state_dir.join("agent"),
        };
        let agent = Agent::new(
            config,
            registry.clone(),
            Arc::new(L2Addresses::new(registry.clone())),
            Arc::new(EmbeddedNames::new(registry.clone())),
            Arc::new(BootClock),
        )
        .await?;
        let lease = agent.lease();
        let mut routes = Routes::builder();
        routes.add_service(AgentServer::new(agent.service()));
        let grpc = Grpc::new(routes, vec![agent_server::SERVICE_NAME]).await;
        // It outlives the endpoint: operations under way ask it.
        process.spawn("agent endpoint", grpc.serve(listener, process.background()));
        let background = process.background();
        process.spawn("network agent", async move {
            agent.run(background).await;
            Ok(())
        });
        Ok(Way { channel: channel(&socket)?, lease: Some(lease) })
    }
}

fn channel(socket: &SocketPath) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(socket.to_string());
    // Connected when it is first used, and again whenever it was lost.
    endpoint.map(|endpoint| endpoint.connect_lazy()).map_err(|error| {
        Failure::usage(format!("'{socket}' cannot be reached as an agent: {error}"))
    })
}
