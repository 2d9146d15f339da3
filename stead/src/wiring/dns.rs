//! DNS for the members' names, answered from the store.

use stead_model::registry::Registry;
use stead_netagent::dns::{NameServer, ServerConfig};

use crate::failure::Failure;
use crate::option::DnsOptions;
use crate::serve::Process;

/// A server that is bound but does not answer yet; none where none was asked for.
pub(super) struct Names(Option<NameServer>);

/// Binds UDP and TCP at every address.
pub(super) async fn bind(told: &DnsOptions) -> Result<Names, Failure> {
    if told.dns_listen.is_empty() {
        return Ok(Names(None));
    }
    let config = ServerConfig {
        listen: told.dns_listen.clone(),
        base: told.zone.clone(),
        // What others reach the server by: not a loopback, and not "any address".
        servers: told
            .dns_listen
            .iter()
            .map(std::net::SocketAddr::ip)
            .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
            .collect(),
    };
    Ok(Names(Some(NameServer::bind(config).await?)))
}

impl Names {
    /// Answers as a part of the process.
    pub(super) fn spawn(self, process: &Process, registry: &Registry) {
        let Some(server) = self.0 else { return };
        let (registry, background) = (registry.clone(), process.background());
        tracing::info!(addresses = ?server.addresses(), "serving DNS");
        process.spawn("DNS server", async move {
            server.serve(registry, background).await;
            Ok(())
        });
    }
}
