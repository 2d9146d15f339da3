//! The CSI services: each handler parses, runs one operation and answers.

mod answer;
mod controller;
mod group;
mod identity;

use std::future::Future;
use std::sync::Arc;

use stead_model::clock::Clock;
use stead_model::operation::{Operation, Operations};
use stead_model::port::{AddressBackend, DnsBackend, Volumes};
use stead_model::registry::Registry;
use stead_model::{Error, Result};
use stead_proto::status::status;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};
use tracing::Instrument;

pub use crate::core::Config;
use crate::core::Core;
use crate::lease::Leases;
use crate::member::MemberLocks;
pub use identity::IdentityService;

/// What a handler answers.
type Reply<T> = std::result::Result<Response<T>, Status>;

/// CSI Controller and GroupController.
#[derive(Clone)]
pub struct ControllerService {
    core: Core,
}

impl ControllerService {
    /// The service on these back ends.
    pub fn new(
        config: Config,
        registry: Registry,
        volumes: Arc<dyn Volumes>,
        addresses: Arc<dyn AddressBackend>,
        names: Arc<dyn DnsBackend>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let leases = Leases::new(registry.clone(), clock, config.grace);
        let core = Core {
            config: Arc::new(config),
            registry,
            volumes,
            addresses,
            names,
            leases,
            operations: Operations::default(),
            members: MemberLocks::default(),
        };
        Self { core }
    }

    /// Observes node leases until cancelled. Without it every lease seems live for ever.
    pub async fn run(&self, cancel: CancellationToken) {
        self.core.leases.run(cancel).await;
    }

    /// What is under way: to be drained before the process ends.
    pub fn operations(&self) -> &Operations {
        &self.core.operations
    }

    /// Runs one operation detached from its caller and shows its error as the orchestrator needs it.
    async fn operate<A, T, W>(
        &self,
        operation: Operation<A>,
        work: impl FnOnce(Core) -> W,
    ) -> std::result::Result<T, Status>
    where
        A: PartialEq + Send + Sync + 'static,
        T: Clone + Send + Sync + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let rpc = operation.rpc;
        let span = tracing::info_span!(
            "rpc",
            rpc,
            volume = volume_in(&operation.objects),
            node = tracing::field::Empty,
            member = tracing::field::Empty,
            term = tracing::field::Empty,
        );
        let patience = self.core.config.profile.patience;
        let run = async {
            let begun = tokio::time::Instant::now();
            let core = self.core.clone();
            let outcome = self.core.operations.run(operation, patience, || work(core)).await;
            observe(rpc, begun.elapsed(), outcome.as_ref().err());
            outcome.map_err(|error| self.refuse(error))
        };
        run.instrument(span).await
    }

    /// A read: nothing to detach, nothing to serialise.
    async fn read<T>(
        &self,
        rpc: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> std::result::Result<T, Status> {
        let begun = tokio::time::Instant::now();
        let patience = self.core.config.profile.patience;
        let late =
            || Error::unavailable(format!("{rpc} took longer than {} s", patience.as_secs()));
        let outcome = tokio::time::timeout(patience, work)
            .instrument(tracing::info_span!("rpc", rpc))
            .await
            .unwrap_or_else(|_| Err(late()));
        observe(rpc, begun.elapsed(), outcome.as_ref().err());
        outcome.map_err(|error| self.refuse(error))
    }

    /// The status of an error, as this orchestrator has to see it.
    fn refuse(&self, error: Error) -> Status {
        status(self.core.config.profile.present(error))
    }
}

/// The volume among the objects of an operation, for its span.
fn volume_in(objects: &[String]) -> Option<&str> {
    objects.iter().find_map(|object| object.strip_prefix("volume "))
}

/// Counts and times a procedure; an error is logged here, at the boundary, once.
fn observe(rpc: &'static str, took: std::time::Duration, error: Option<&Error>) {
    let code = error.map_or("OK".to_owned(), |error| format!("{:?}", error.kind()));
    metrics::histogram!("stead_rpc_seconds", "rpc" => rpc).record(took.as_secs_f64());
    metrics::counter!("stead_rpc_total", "rpc" => rpc, "outcome" => code).increment(1);
    match error {
        Some(error) => {
            tracing::warn!(kind = ?error.kind(), error = error.chain(), "call refused");
        }
        None => tracing::debug!(took_ms = took.as_millis() as u64, "call answered"),
    }
}
