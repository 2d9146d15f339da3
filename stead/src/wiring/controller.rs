//! `stead controller`: the CSI controller and the identity store.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{dns, driver, health, host, state, store};
use crate::failure::Failure;
use crate::option::{
    ControllerOptions, DnsOptions, DriverOptions, NodeName, PoolOptions, StoreListen, TlsFiles,
};
use crate::serve::{Monitor, Process, listen};

/// What `stead controller` was told.
pub(crate) struct Controller {
    pub(crate) driver: DriverOptions,
    pub(crate) controller: ControllerOptions,
    pub(crate) pool: PoolOptions,
    pub(crate) node: NodeName,
    pub(crate) state_dir: PathBuf,
    pub(crate) store_listen: Vec<StoreListen>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) dns: DnsOptions,
    pub(crate) http_listen: Option<SocketAddr>,
}

/// Serves until told to stop.
pub(crate) async fn controller(told: Controller) -> Result<(), Failure> {
    let doors = store::Plan::new(&told.state_dir, told.store_listen, told.tls.as_ref())?;
    let node = host::name(&told.node)?;
    state::prepare(&told.state_dir)?;
    let process = Process::new()?;
    let csi = listen(&told.driver.endpoint).await?;
    let doors = doors.bind().await?;
    let names = dns::bind(&told.dns).await?;
    let monitor = Monitor::bind(told.http_listen).await?;

    let (identities, registry) = store::open(&told.state_dir).await?;
    let config = driver::config(&told.driver, told.dns.zone, told.controller.lease_grace);
    let service =
        driver::controller(config.clone(), &told.pool, &node, &told.state_dir, &registry).await?;
    let grpc = driver::Csi::new(config, &registry).controller(&service).grpc().await;
    monitor.spawn(&process, vec![health::store(&registry)]);
    doors.spawn(&process, identities).await;
    names.spawn(&process, &registry);
    driver::observe_leases(&process, &service);
    tracing::info!(endpoint = %told.driver.endpoint, "serving the CSI controller");
    process.spawn("CSI endpoint", grpc.clone().serve(csi, process.serving()));
    process.run(vec![service.operations().clone()], async move { grpc.leave().await }).await
}
