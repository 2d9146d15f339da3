//! `stead all`

use clap::Args;

use crate::failure::Failure;
use crate::option::{
    ControllerOptions, DnsOptions, DriverOptions, HttpOptions, NodeIdentity, PoolOptions,
    StateOptions, StoreListenOptions, TlsOptions,
};
use crate::wiring;

/// Serve everything in one process: a whole driver on one host
#[derive(Debug, Args)]
#[command(
    long_about = "\
Serve everything in one process: a whole driver on one host.

Controller, identity store, node plugin and network agent answer at one socket. Other hosts can join: \
serve the store to them with --store-listen, share the pool's directory, and run `stead node` there. \
Needs root.",
    after_long_help = "\
Examples:
  A driver at /run/stead/csi.sock, with its state in /var/lib/stead:
    stead all

  For a Nomad client:
    stead all --orchestrator nomad --endpoint unix:///csi/csi.sock

  Answer DNS for the members too, and look at it:
    stead all --dns-listen 127.0.0.53:53
    dig @127.0.0.53 mongo-0.prod.stead.internal"
)]
pub(super) struct All {
    #[command(flatten)]
    driver: DriverOptions,
    #[command(flatten)]
    controller: ControllerOptions,
    #[command(flatten)]
    identity: NodeIdentity,
    #[command(flatten)]
    pool: PoolOptions,
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

impl All {
    pub(super) async fn run(self) -> Result<(), Failure> {
        wiring::all(wiring::All {
            driver: self.driver,
            controller: self.controller,
            identity: self.identity,
            pool: self.pool,
            state_dir: self.state.state_dir,
            store_listen: self.store.store_listen,
            tls: self.tls.files(),
            dns: self.dns,
            http_listen: self.http.listen(9810),
        })
        .await
    }
}
