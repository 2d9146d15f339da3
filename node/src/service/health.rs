//! `NodeGetVolumeHealth` and `NodeGetStorageHealth`.

use stead_model::Error;
use stead_model::name::VolumeId;
use stead_proto::csi::v1::node_get_storage_health_response::StorageBackendHealth;
use stead_proto::csi::v1::volume_health::VolumeHealthEntry;
use stead_proto::csi::v1::{
    NodeGetStorageHealthResponse, NodeGetVolumeHealthRequest, NodeGetVolumeHealthResponse,
    StorageHealthErrorType, VolumeHealth, VolumeHealthErrorType,
};
use stead_proto::request::required;

use super::Host;
use crate::error::Result;
use crate::state::{Shape, VolumeState};

impl Host {
    pub(super) async fn volume_health(
        &self,
        request: &NodeGetVolumeHealthRequest,
    ) -> Result<NodeGetVolumeHealthResponse> {
        let id: VolumeId = required("volume_id", &request.volume_id)?;
        let state = self.states.load(&id).ok_or_else(|| {
            Error::not_found(format!("volume '{id}' is neither staged nor published on this node"))
        })?;
        let health_statuses = self.troubles(&state).await?;
        let volume_id = id.to_string();
        Ok(NodeGetVolumeHealthResponse {
            volume_health: Some(VolumeHealth { volume_id, health_statuses }),
        })
    }

    async fn troubles(&self, state: &VolumeState) -> Result<Vec<VolumeHealthEntry>> {
        let id = &state.volume;
        let inaccessible = |reason: &str, message: String| {
            vec![VolumeHealthEntry {
                status: VolumeHealthErrorType::Inaccessible.into(),
                reason: reason.to_owned(),
                message,
            }]
        };
        if self.devices.find(id).await?.is_empty() {
            return Ok(inaccessible("DeviceGone", format!("volume '{id}' has no device here")));
        }
        if !self.is_staged(id, state).await? {
            return Ok(inaccessible("NotMounted", format!("volume '{id}' is not mounted here")));
        }
        for target in state.targets.keys() {
            if !self.is_mounted(id, target).await? {
                let message = format!("volume '{id}' is not mounted at {}", target.display());
                return Ok(inaccessible("NotMounted", message));
            }
        }
        // The kernel makes a file system read-only when it meets an error.
        let written = state.targets.values().any(|target| !target.readonly);
        let stopped = self.mounts_of(id).await?.iter().any(|mount| mount.super_readonly);
        if state.shape == Shape::Mount && written && stopped {
            return Ok(vec![VolumeHealthEntry {
                status: VolumeHealthErrorType::Degraded.into(),
                reason: "FilesystemReadOnly".to_owned(),
                message: format!(
                    "the kernel made the file system of volume '{id}' read-only: see its log"
                ),
            }]);
        }
        Ok(Vec::new())
    }

    pub(super) async fn storage_health(&self) -> NodeGetStorageHealthResponse {
        let trouble = |error: crate::NodeError| StorageBackendHealth {
            status: StorageHealthErrorType::StorageUnreachable.into(),
            reason: "PoolUnreachable".to_owned(),
            message: error.to_string(),
            volume_capability: None,
        };
        let backend_health = self.devices.check().await.err().map(trouble).into_iter().collect();
        NodeGetStorageHealthResponse { backend_health }
    }
}
