//! `stead netagent`: the network agent as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{agent, dns, driver, health, host, state, store};
use crate::failure::Failure;
use crate::option::{DnsOptions, NodeIdentity, PoolOptions, SocketPath, StoreAddress, TlsFiles};
use crate::serve::{Monitor, Process};

/// What `stead netagent` was told.
pub(crate) struct Netagent {
    pub(crate) agent_listen: Option<SocketPath>,
    pub(crate) identity: NodeIdentity,
    pub(crate) pool: PoolOptions,
    pub(crate) state_dir: PathBuf,
    pub(crate) store: StoreAddress,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) dns: DnsOptions,
    pub(crate) http_listen: Option<SocketAddr>,
}

/// Serves until told to stop.
pub(crate) async fn netagent(told: Netagent) -> Result<(), Failure> {
    let node = host::name(&told.identity.name)?;
    let registry = store::registry(&told.store, told.tls.as_ref())?;
    state::prepare(&told.state_dir)?;
    let socket = match told.agent_listen {
        Some(socket) => socket,
        None => agent::default_socket(&told.state_dir)?,
    };
    tracing::info!(endpoint = %socket, "serving the network agent");
    let door = agent::Door::inside(socket).await?;
    let names = dns::bind(&told.dns).await?;
    let monitor = Monitor::bind(told.http_listen).await?;

    let pool_dir = driver::pool_dir(&told.pool, &told.state_dir);
    let topology = host::topology(&told.identity, &node, &pool_dir, told.pool.pool_shared).await;
    let process = Process::new()?;
    let terms = agent::Terms { identity: &told.identity, node: &node, topology: &topology };
    let way = door.spawn(&process, terms, &told.state_dir, &registry).await?;
    monitor.spawn(&process, vec![health::store(&registry), way.check()]);
    names.spawn(&process, &registry);
    process.run(Vec::new(), async {}).await
}
