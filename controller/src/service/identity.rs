//! CSI Identity.

use std::collections::BTreeMap;
use std::sync::Arc;

use stead_model::port::Key;
use stead_model::registry::Registry;
use stead_proto::csi::v1::plugin_capability::service::Type as Service;
use stead_proto::csi::v1::plugin_capability::volume_expansion::Type as Expansion;
use stead_proto::csi::v1::plugin_capability::{self, Type};
use stead_proto::csi::v1::*;
use tonic::{Request, Response};

use super::{Config, Reply};

/// CSI Identity, the same for every process of the plugin.
#[derive(Clone)]
pub struct IdentityService {
    config: Arc<Config>,
    registry: Registry,
}

impl IdentityService {
    /// The service; `registry` tells whether the plugin is ready.
    pub fn new(config: Config, registry: Registry) -> Self {
        Self { config: Arc::new(config), registry }
    }
}

fn service(service: Service) -> PluginCapability {
    let capability = plugin_capability::Service { r#type: service.into() };
    PluginCapability { r#type: Some(Type::Service(capability)) }
}

#[tonic::async_trait]
impl identity_server::Identity for IdentityService {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Reply<GetPluginInfoResponse> {
        Ok(Response::new(GetPluginInfoResponse {
            name: self.config.name.clone(),
            vendor_version: self.config.version.clone(),
            manifest: BTreeMap::new(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Reply<GetPluginCapabilitiesResponse> {
        let expansion = plugin_capability::VolumeExpansion { r#type: Expansion::Online.into() };
        let mut capabilities = vec![
            service(Service::ControllerService),
            service(Service::GroupControllerService),
            PluginCapability { r#type: Some(Type::VolumeExpansion(expansion)) },
        ];
        if self.config.profile.topology {
            capabilities.push(service(Service::VolumeAccessibilityConstraints));
        }
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities }))
    }

    /// A store that does not answer makes the plugin "not ready", which is no error.
    async fn probe(&self, _: Request<ProbeRequest>) -> Reply<ProbeResponse> {
        let read = self.registry.store().get(&Key::new("probe", &[])).await;
        if let Err(error) = &read {
            tracing::warn!(error = error.chain(), "not ready: the store does not answer");
        }
        Ok(Response::new(ProbeResponse { ready: Some(read.is_ok()) }))
    }
}
