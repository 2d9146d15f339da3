//! `stead node`: the CSI node plugin, with the agent inside or beside it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use stead_model::lease::GRACE_DEFAULT;
use stead_model::name::NodeId;
use stead_model::record::{self, NodeLease};
use stead_model::registry::Registry;
use stead_model::{Error, Kind};
use stead_node::NodeService;
use stead_proto::transport::Listener;

use super::{agent, dns, driver, health, host, state, store};
use crate::failure::Failure;
use crate::option::{
    DnsOptions, DriverOptions, NodeIdentity, PoolOptions, SocketPath, StoreAddress, TlsFiles,
};
use crate::serve::{Grpc, Monitor, Process, listen};

/// What `stead node` was told.
pub(crate) struct Node {
    pub(crate) driver: DriverOptions,
    pub(crate) identity: NodeIdentity,
    pub(crate) agent: Option<SocketPath>,
    pub(crate) pool: PoolOptions,
    pub(crate) state_dir: PathBuf,
    pub(crate) store: StoreAddress,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) dns: DnsOptions,
    pub(crate) http_listen: Option<SocketAddr>,
}

/// How long to wait before the store is asked again.
const RETRY: Duration = Duration::from_millis(250);

/// Serves until told to stop.
pub(crate) async fn node(told: Node) -> Result<(), Failure> {
    let node = host::name(&told.identity.name)?;
    let pool_dir = driver::pool_dir(&told.pool, &told.state_dir);
    let registry = store::registry(&told.store, told.tls.as_ref())?;
    state::prepare(&told.state_dir)?;
    let csi = listen(&told.driver.endpoint).await?;
    let door = agent::Door::open(told.agent, &told.state_dir).await?;
    let names = dns::bind(&told.dns).await?;
    let monitor = Monitor::bind(told.http_listen).await?;

    let topology = host::topology(&told.identity, &node, &pool_dir, told.pool.pool_shared).await;
    let process = Process::new()?;
    let terms = agent::Terms { identity: &told.identity, node: &node, topology: &topology };
    let way = door.spawn(&process, terms, &told.state_dir, &registry).await?;
    monitor.spawn(&process, vec![health::store(&registry), way.check()]);
    names.spawn(&process, &registry);
    let config = stead_node::Config {
        node: node.clone(),
        pool_dir,
        state_dir: told.state_dir.join("node"),
        profile: told.driver.orchestrator.profile(),
        topology,
        alpha_capabilities: told.driver.alpha_capabilities,
        agent: way.channel(),
    };
    let service = NodeService::new(config, registry.clone()).map_err(stead_model::Error::from)?;
    let config = driver::config(&told.driver, told.dns.zone, GRACE_DEFAULT);
    let grpc = driver::Csi::new(config, &registry).node(&service).grpc().await;
    tracing::info!(endpoint = %told.driver.endpoint, "serving the CSI node plugin");
    serve(&process, Ready { service: service.clone(), registry, node }, &grpc, csi);
    process.run(vec![service.operations().clone()], async move { grpc.leave().await }).await
}

/// What has to be true before the node plugin answers.
pub(super) struct Ready {
    pub(super) service: NodeService,
    pub(super) registry: Registry,
    pub(super) node: NodeId,
}

/// Serves CSI once what is left from before a restart has been brought in line with the store, and the
/// agent has registered the node: before that nothing could be published here. The socket is there
/// already; whoever calls meanwhile waits.
pub(super) fn serve(process: &Process, ready: Ready, grpc: &Grpc, csi: Listener) {
    let endpoint = grpc.clone().serve(csi, process.serving());
    let serving = process.serving();
    process.spawn("CSI endpoint", async move {
        match serving.run_until_cancelled(ready.wait()).await {
            None => Ok(()),
            Some(Ok(())) => endpoint.await,
            Some(Err(failure)) => Err(failure),
        }
    });
}

impl Ready {
    async fn wait(&self) -> Result<(), Failure> {
        let mut told = String::new();
        loop {
            let error = match self.check().await {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == Kind::Unavailable => error.chain(),
                Err(error) => return Err(error.into()),
            };
            if error != told {
                tracing::info!(reason = error, "not ready yet");
                told = error;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn check(&self) -> Result<(), Error> {
        self.service.reconcile().await?;
        match self.registry.get::<NodeLease>(&record::node_key(&self.node)).await? {
            Some(_) => Ok(()),
            None => Err(Error::unavailable("no agent has registered this node yet")),
        }
    }
}
