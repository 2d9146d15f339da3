//! `stead node`

use clap::Args;

use crate::failure::Failure;
use crate::option::{
    DnsOptions, DriverOptions, HttpOptions, NodeIdentity, NodeOptions, PoolOptions, StateOptions,
    StoreOptions, TlsOptions,
};
use crate::wiring;

/// Serve the CSI node plugin of this host, with the network agent inside
#[derive(Debug, Args)]
#[command(
    long_about = "\
Serve the CSI node plugin of this host, with the network agent inside.

The plugin finds devices, makes file systems and mounts them. The agent renews this host's lease and \
keeps the addresses and the DNS names of the members that it holds. A host that cannot renew its lease \
lets go of them before any other may take them. Needs root.",
    after_long_help = "\
Examples:
  Beside `stead controller` on the same host:
    stead node

  On a host of its own:
    stead node --node-id node-1 --store https://10.0.0.5:9800 --pool-dir /mnt/pool --pool-shared \\
      --tls-ca ca.crt --tls-cert tls.crt --tls-key tls.key \\
      --topology topology.stead.dev/zone=z1

  See `stead certificate --help` for the certificates."
)]
pub(super) struct Node {
    #[command(flatten)]
    driver: DriverOptions,
    #[command(flatten)]
    identity: NodeIdentity,
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    pool: PoolOptions,
    #[command(flatten)]
    state: StateOptions,
    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    tls: TlsOptions,
    #[command(flatten)]
    dns: DnsOptions,
    #[command(flatten)]
    http: HttpOptions,
}

impl Node {
    pub(super) async fn run(self) -> Result<(), Failure> {
        wiring::node(wiring::Node {
            driver: self.driver,
            identity: self.identity,
            agent: self.node.agent,
            pool: self.pool,
            state_dir: self.state.state_dir,
            store: self.store.store,
            tls: self.tls.files(),
            dns: self.dns,
            http_listen: self.http.listen(9811),
        })
        .await
    }
}
