//! The CSI services.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stead_controller::pool::{Pool, PoolConfig};
use stead_controller::service::{Config, ControllerService, IdentityService};
use stead_model::Error;
use stead_model::clock::BootClock;
use stead_model::name::{DomainName, NodeId};
use stead_model::registry::Registry;
use stead_netagent::L2Addresses;
use stead_netagent::dns::EmbeddedNames;
use stead_node::NodeService;
use stead_proto::csi::v1::controller_server::{self, ControllerServer};
use stead_proto::csi::v1::group_controller_server::{self, GroupControllerServer};
use stead_proto::csi::v1::identity_server::{self, IdentityServer};
use stead_proto::csi::v1::node_server::{self, NodeServer};
use tonic::service::{Routes, RoutesBuilder};

use crate::failure::Failure;
use crate::option::{DriverOptions, PoolOptions};
use crate::serve::{Grpc, Process};

/// What every process of the driver says of it.
pub(super) fn config(driver: &DriverOptions, zone: DomainName, grace: Duration) -> Config {
    Config {
        name: driver.driver_name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        profile: driver.orchestrator.profile(),
        zone,
        alpha_capabilities: driver.alpha_capabilities,
        grace,
    }
}

/// The directory of the pool.
pub(super) fn pool_dir(pool: &PoolOptions, state_dir: &Path) -> PathBuf {
    pool.pool_dir.clone().unwrap_or_else(|| state_dir.join("pool"))
}

/// The controller on a pool, on plain networks and with names in the store.
pub(super) async fn controller(
    config: Config,
    pool: &PoolOptions,
    node: &NodeId,
    state_dir: &Path,
    registry: &Registry,
) -> Result<ControllerService, Failure> {
    let pool_config = PoolConfig {
        shared: pool.pool_shared,
        node: Some(node.clone()).filter(|_| !pool.pool_shared),
        memory: Some(state_dir.join("pool.json")),
    };
    let volumes = Pool::open(pool_dir(pool, state_dir), pool_config).await.map_err(Error::from)?;
    Ok(ControllerService::new(
        config,
        registry.clone(),
        Arc::new(volumes),
        Arc::new(L2Addresses::new(registry.clone())),
        Arc::new(EmbeddedNames::new(registry.clone())),
        Arc::new(BootClock),
    ))
}

/// Watches the leases of all nodes: without it, a dead node's members are never given away.
pub(super) fn observe_leases(process: &Process, service: &ControllerService) {
    let (service, background) = (service.clone(), process.background());
    process.spawn("lease observer", async move {
        service.run(background).await;
        Ok(())
    });
}

/// The services that one socket serves.
pub(super) struct Csi {
    routes: RoutesBuilder,
    names: Vec<&'static str>,
}

impl Csi {
    /// That of identity, which every process serves.
    pub(super) fn new(config: Config, registry: &Registry) -> Self {
        let mut routes = Routes::builder();
        routes.add_service(IdentityServer::new(IdentityService::new(config, registry.clone())));
        Self { routes, names: vec![identity_server::SERVICE_NAME] }
    }

    /// Those of the controller.
    pub(super) fn controller(mut self, service: &ControllerService) -> Self {
        self.routes.add_service(ControllerServer::new(service.clone()));
        self.routes.add_service(GroupControllerServer::new(service.clone()));
        self.names.extend([controller_server::SERVICE_NAME, group_controller_server::SERVICE_NAME]);
        self
    }

    /// That of the node.
    pub(super) fn node(mut self, service: &NodeService) -> Self {
        self.routes.add_service(NodeServer::new(service.clone()));
        self.names.push(node_server::SERVICE_NAME);
        self
    }

    /// As they are served.
    pub(super) async fn grpc(self) -> Grpc {
        Grpc::new(self.routes, self.names).await
    }
}
