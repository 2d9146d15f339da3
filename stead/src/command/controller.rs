//! `stead controller`

use clap::Args;

use crate::failure::Failure;
use crate::option::{
    ControllerOptions, DnsOptions, DriverOptions, HttpOptions, NodeName, PoolOptions, StateOptions,
    StoreListenOptions, TlsOptions,
};
use crate::wiring;

/// Serve the CSI controller and the identity store
#[derive(Debug, Args)]
#[command(
    long_about = "\
Serve the CSI controller and the identity store.

The controller makes volumes, decides which node holds which member, and keeps the identity store, the \
only authority on both. Run one of it for a cluster. It serves the store to its own host at a UNIX \
socket and, where asked, to the nodes over TLS with certificates on both sides.",
    after_long_help = "\
Examples:
  On one host, for `stead node` beside it:
    stead controller --endpoint /run/stead/controller.sock

  For nodes on other hosts that share a directory (NFS, CephFS):
    stead controller --pool-dir /mnt/pool --pool-shared --store-listen 10.0.0.5:9800 \\
      --tls-ca ca.crt --tls-cert tls.crt --tls-key tls.key

  See `stead certificate --help` for the certificates."
)]
pub(super) struct Controller {
    #[command(flatten)]
    driver: DriverOptions,
    #[command(flatten)]
    controller: ControllerOptions,
    #[command(flatten)]
    pool: PoolOptions,
    #[command(flatten)]
    node: NodeName,
    #[command(flatten)]
    state: StateOptions,
    #[command(flatten)]
    store: StoreListenOptions,
    #[command(flatten)]
    tls: TlsOptions,
    #[command(flatten)]
    dns: DnsOptions,
    #[command(flatten)]
    http: HttpOptions,
}

impl Controller {
    pub(super) async fn run(self) -> Result<(), Failure> {
        wiring::controller(wiring::Controller {
            driver: self.driver,
            controller: self.controller,
            pool: self.pool,
            node: self.node,
            state_dir: self.state.state_dir,
            store_listen: self.store.store_listen,
            tls: self.tls.files(),
            dns: self.dns,
            http_listen: self.http.listen(9810),
        })
        .await
    }
}
