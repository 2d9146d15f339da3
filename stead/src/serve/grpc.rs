//! gRPC with its health service, over any listener.

use stead_proto::transport::{self, Address, Listener};
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::failure::Failure;
use crate::option::SocketPath;

/// Binds a UNIX socket, to be served later.
pub(crate) async fn listen(socket: &SocketPath) -> Result<Listener, Failure> {
    Ok(transport::listen(&Address::Unix(socket.path().to_owned()), None).await?)
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
    pub(crate) async fn serve(self, at: Listener, stop: CancellationToken) -> Result<(), Failure> {
        Ok(at.serve(self.routes, stop.cancelled_owned()).await?)
    }

    async fn report(&self, status: ServingStatus) {
        // The empty name stands for the process as a whole.
        for name in self.names.iter().chain(&[""]) {
            self.health.set_service_status(name, status).await;
        }
    }
}
