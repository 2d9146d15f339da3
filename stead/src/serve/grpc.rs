//! gRPC with its health service, over any listener.

use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Error, Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::failure::Failure;

/// How often an idle peer is asked whether it still is there, and how long it may take to answer: a
/// host that died without a word must not keep its connection.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// What gRPC is served over.
pub(crate) enum Wire {
    /// A UNIX socket.
    Unix(UnixListener),
    /// TCP, with certificates on both sides.
    Tls(TcpListener, Box<ServerTlsConfig>),
}

/// Some services, as one or more listeners serve them.
#[derive(Clone)]
pub(crate) struct Grpc {
    routes: Routes,
    health: HealthReporter,
    names: Vec<&'static str>,
}

impl Grpc {
    /// These services, by their full names, and that of health beside them.
    pub(crate) async fn new(mut routes: RoutesBuilder, names: Vec<&'static str>) -> Self {
        let (health, service) = tonic_health::server::health_reporter();
        routes.add_service(service);
        let grpc = Self { routes: routes.routes().prepare(), health, names };
        grpc.report(ServingStatus::Serving).await;
        grpc
    }

    /// Tells whoever asks for health that nothing new is taken.
    pub(crate) async fn leave(&self) {
        self.report(ServingStatus::NotServing).await;
    }

    /// Serves until it is told to stop, then lets the calls under way finish.
    pub(crate) async fn serve(self, wire: Wire, stop: CancellationToken) -> Result<(), Failure> {
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE));
        let stopped = stop.cancelled_owned();
        let served = match wire {
            Wire::Unix(listener) => {
                let incoming = UnixListenerStream::new(listener);
                server.add_routes(self.routes).serve_with_incoming_shutdown(incoming, stopped).await
            }
            Wire::Tls(listener, tls) => {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                let mut server = server.tls_config(*tls).map_err(ended)?;
                server.add_routes(self.routes).serve_with_incoming_shutdown(incoming, stopped).await
            }
        };
        served.map_err(ended)
    }

    async fn report(&self, status: ServingStatus) {
        // The empty name stands for the process as a whole.
        for name in self.names.iter().chain(&[""]) {
            self.health.set_service_status(name, status).await;
        }
    }
}

fn ended(error: Error) -> Failure {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    Failure::new(format!("{error}{}", cause.unwrap_or_default()))
}
