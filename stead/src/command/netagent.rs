//! `stead netagent`

use clap::Args;

use crate::failure::Failure;
use crate::option::{
    DnsOptions, HttpOptions, NodeIdentity, PoolOptions, SocketPath, StateOptions, StoreOptions,
    TlsOptions,
};
use crate::wiring;

/// Run the network agent of this host as a process of its own
#[derive(Debug, Args)]
#[command(
    long_about = "\
Run the network agent of this host as a process of its own.

The agent renews this host's lease and keeps the addresses and the DNS names of the members that the \
host holds. `stead node` has one inside; run it apart where the node plugin must not see the host's \
network, or where the two are to be upgraded one after the other. It needs the node plugin's \
--node-id, --pool-dir and --pool-shared: it tells the controller which pool the host reaches. Needs \
CAP_NET_ADMIN and CAP_NET_RAW.",
    after_long_help = "\
Examples:
  stead netagent --node-id node-1 --agent-listen /run/stead/agent.sock
  stead node --node-id node-1 --agent /run/stead/agent.sock"
)]
pub(super) struct Netagent {
    /// The UNIX socket at which the node plugin reaches the agent [default: STATE_DIR/agent.sock]
    #[arg(long, env = "STEAD_AGENT_LISTEN", value_name = "SOCKET", help_heading = "Node")]
    agent_listen: Option<SocketPath>,
    #[command(flatten)]
    identity: NodeIdentity,
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

impl Netagent {
    pub(super) async fn run(self) -> Result<(), Failure> {
        wiring::netagent(wiring::Netagent {
            agent_listen: self.agent_listen,
            identity: self.identity,
            pool: self.pool,
            state_dir: self.state.state_dir,
            store: self.store.store,
            tls: self.tls.files(),
            dns: self.dns,
            http_listen: self.http.listen(9812),
        })
        .await
    }
}
