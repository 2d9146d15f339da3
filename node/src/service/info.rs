//! `NodeGetCapabilities` and `NodeGetInfo`.

use stead_proto::csi::v1::node_service_capability::rpc::Type;
use stead_proto::csi::v1::node_service_capability::{Rpc, Type as Capability};
use stead_proto::csi::v1::{
    NodeGetCapabilitiesResponse, NodeGetInfoResponse, NodeServiceCapability, Topology,
};

use super::Host;

impl Host {
    pub(super) fn capabilities(&self) -> NodeGetCapabilitiesResponse {
        let mut types = vec![
            Type::GetVolumeStats,
            Type::ExpandVolume,
            Type::SingleNodeMultiWriter,
            Type::VolumeMountGroup,
        ];
        if self.config.profile.staging {
            types.push(Type::StageUnstageVolume);
        }
        // The official suite fails on values that it does not know yet.
        if self.config.alpha_capabilities {
            types.extend([Type::GetVolumeHealth, Type::GetStorageHealth]);
        }
        let capability = |kind: Type| NodeServiceCapability {
            r#type: Some(Capability::Rpc(Rpc { r#type: kind.into() })),
        };
        NodeGetCapabilitiesResponse { capabilities: types.into_iter().map(capability).collect() }
    }

    pub(super) fn info(&self) -> NodeGetInfoResponse {
        let segments = self.config.topology.clone();
        let shown = self.config.profile.topology && !segments.is_empty();
        NodeGetInfoResponse {
            node_id: self.config.node.to_string(),
            // No limit of ours: the kernel makes loop devices as they are needed.
            max_volumes_per_node: 0,
            accessible_topology: shown.then_some(Topology { segments }),
        }
    }
}
