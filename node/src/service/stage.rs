//! `NodeStageVolume` and `NodeUnstageVolume`.

use stead_model::Error;
use stead_model::hold::Stage;
use stead_model::name::VolumeId;
use stead_model::record::{HoldKey, Volume, volume_key};
use stead_proto::csi::v1::{NodeStageVolumeRequest, NodeUnstageVolumeRequest};
use stead_proto::request::{check_map, required};

use super::Host;
use super::open::Opening;
use super::request::{Wanted, path, term};
use crate::error::Result;
use crate::mount;
use crate::state::VolumeState;

impl Host {
    pub(super) async fn stage(&self, request: &NodeStageVolumeRequest) -> Result<()> {
        let id: VolumeId = required("volume_id", &request.volume_id)?;
        let path = path("staging_target_path", &request.staging_target_path)?;
        let wanted = Wanted::parse(request.volume_capability.as_ref())?;
        check_map("publish_context", &request.publish_context)?;
        check_map("volume_context", &request.volume_context)?;
        check_map("secrets", &request.secrets)?;
        let volume = self.usable_volume(&id).await?;
        let term = term(&request.publish_context)?;
        let usage = self.raise(&volume, term, Stage::Staged).await?;
        let readonly = wanted.readonly(usage.readonly);
        let (volume, wanted, context) = (&volume, &wanted, &request.publish_context);
        let opened = self.open(&Opening { volume, context, term, wanted, readonly, path }).await;
        if opened.is_err() {
            self.back_out(volume).await;
        }
        opened
    }

    pub(super) async fn unstage(&self, request: &NodeUnstageVolumeRequest) -> Result<()> {
        let id: VolumeId = required("volume_id", &request.volume_id)?;
        let path = path("staging_target_path", &request.staging_target_path)?;
        let state = self.states.load(&id);
        let resolved = mount::resolve(&path)?;
        for mount in self.mounts_of(&id).await? {
            if mount.path != resolved {
                return Err(Error::precondition(format!(
                    "volume '{id}' is still in use at {}: unpublish it there first",
                    mount.path.display()
                ))
                .into());
            }
        }
        // A stranger's mount at that path is not ours to take away.
        if self.is_mounted(&id, &path).await? {
            self.unmount(resolved).await?;
        }
        self.devices.detach(&id).await?;
        if let Some(of) = self.hold_of(&id, state.as_ref()).await? {
            self.lower(&of, &id, Stage::Attached).await?;
        }
        self.states.remove(&id)
    }

    /// Whose hold a volume falls under: by the store, or by what was remembered of one that is deleted.
    pub(super) async fn hold_of(
        &self,
        id: &VolumeId,
        state: Option<&VolumeState>,
    ) -> Result<Option<HoldKey>> {
        let stored = self.registry.get::<Volume>(&volume_key(id)).await?;
        let stored = stored.map(|volume| volume.hold_key());
        Ok(stored.or_else(|| state.map(|state| state.hold.clone())))
    }
}
