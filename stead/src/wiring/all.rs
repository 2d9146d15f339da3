//! `stead all`: everything in one process, at one socket.

use std::net::SocketAddr;
use std::path::PathBuf;

use stead_node::NodeService;

use super::{agent, dns, driver, health, host, node, state, store};
use crate::failure::Failure;
use crate::option::{
    ControllerOptions, DnsOptions, DriverOptions, NodeIdentity, PoolOptions, StoreListen, TlsFiles,
};
use crate::serve::{Monitor, Process, listen};

/// What `stead all` was told.
pub(crate) struct All {
    pub(crate) driver: DriverOptions,
    pub(crate) controller: ControllerOptions,
    pub(crate) identity: NodeIdentity,
    pub(crate) pool: PoolOptions,
    pub(crate) state_dir: PathBuf,
    pub(crate) store_listen: Vec<StoreListen>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) dns: DnsOptions,
    pub(crate) http_listen: Option<SocketAddr>,
}

/// Serves until told to stop.
pub(crate) async fn all(told: All) -> Result<(), Failure> {
    let doors = store::Plan::new(&told.state_dir, told.store_listen, told.tls.as_ref())?;
    let node_id = host::name(&told.identity.name)?;
    state::prepare(&told.state_dir)?;
    let process = Process::new()?;
    let csi = listen(&told.driver.endpoint).await?;
    let doors = doors.bind().await?;
    let door = agent::Door::open(None, &told.state_dir).await?;
    let names = dns::bind(&told.dns).await?;
    let monitor = Monitor::bind(told.http_listen).await?;

    let (identities, registry) = store::open(&told.state_dir).await?;
    let config = driver::config(&told.driver, told.dns.zone, told.controller.lease_grace);
    let controller =
        driver::controller(config.clone(), &told.pool, &node_id, &told.state_dir, &registry)
            .await?;
    // The pool has been opened: a shared one can say its name now.
    let pool_dir = driver::pool_dir(&told.pool, &told.state_dir);
    let topology = host::topology(&told.identity, &node_id, &pool_dir, told.pool.pool_shared).await;
    let terms = agent::Terms { identity: &told.identity, node: &node_id, topology: &topology };
    let way = door.spawn(&process, terms, &told.state_dir, &registry).await?;
    let service = NodeService::new(
        stead_node::Config {
            node: node_id.clone(),
            pool_dir,
            state_dir: told.state_dir.join("node"),
            profile: told.driver.orchestrator.profile(),
            topology,
            alpha_capabilities: told.driver.alpha_capabilities,
            agent: way.channel(),
        },
        registry.clone(),
    )
    .map_err(stead_model::Error::from)?;
    let csi_services = driver::Csi::new(config, &registry).controller(&controller).node(&service);
    let grpc = csi_services.grpc().await;
    monitor.spawn(&process, vec![health::store(&registry), way.check()]);
    doors.spawn(&process, identities).await;
    names.spawn(&process, &registry);
    driver::observe_leases(&process, &controller);
    tracing::info!(endpoint = %told.driver.endpoint, "serving CSI");
    let ready = node::Ready { service: service.clone(), registry, node: node_id };
    node::serve(&process, ready, &grpc, csi);
    let operations = vec![controller.operations().clone(), service.operations().clone()];
    process.run(operations, async move { grpc.leave().await }).await
}
