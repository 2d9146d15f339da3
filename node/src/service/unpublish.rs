//! `NodeUnpublishVolume`.

use std::path::Path;

use stead_model::hold::Stage;
use stead_model::name::VolumeId;
use stead_model::record::{HoldKey, Volume, volume_key};
use stead_proto::csi::v1::NodeUnpublishVolumeRequest;
use stead_proto::request::required;

use super::Host;
use super::request::path;
use crate::blocking::blocking;
use crate::error::{NodeError, Result};
use crate::mount::{self, target};
use crate::state::VolumeState;

impl Host {
    pub(super) async fn unpublish(&self, request: &NodeUnpublishVolumeRequest) -> Result<()> {
        let id: VolumeId = required("volume_id", &request.volume_id)?;
        let target = path("target_path", &request.target_path)?;
        let mut state = self.states.load(&id);
        let stored = self.registry.get::<Volume>(&volume_key(&id)).await;
        let of = match &stored {
            Ok(Some(volume)) => Some((volume.hold_key(), volume.is_primary())),
            // A store that cannot be asked does not keep a volume here: what is remembered will do.
            _ => state.as_ref().map(|state| (state.hold.clone(), state.primary)),
        };
        let last = self.is_last(&id, &target, state.as_ref()).await?;
        // The address goes before the data. That this fails does not keep the data here, but it is
        // reported in the end, so that the call is repeated.
        let told = match &of {
            Some((of, primary)) if last => self.withdraw(of, *primary, &id).await,
            _ => Ok(()),
        };
        let expected = matches!(stored, Ok(Some(_)));
        self.hide(&id, &target, state.as_ref(), expected).await?;
        if let Some(state) = &mut state {
            state.targets.remove(&target);
            self.states.save(state)?;
        }
        if last && !self.config.profile.staging {
            self.close_internal(&id, expected || state.is_some()).await?;
        }
        stored?;
        told?;
        if last && !self.config.profile.staging {
            if let Some((of, _)) = &of {
                self.lower(of, &id, Stage::Attached).await?;
            }
            self.states.remove(&id)?;
        }
        Ok(())
    }

    async fn withdraw(&self, of: &HoldKey, primary: bool, id: &VolumeId) -> Result<()> {
        self.lower(of, id, Stage::Staged).await?;
        if primary {
            self.converge(of).await?;
        }
        Ok(())
    }

    /// Whether no other target is left once this one is gone.
    async fn is_last(
        &self,
        id: &VolumeId,
        target: &Path,
        state: Option<&VolumeState>,
    ) -> Result<bool> {
        let target = mount::resolve(target)?;
        let mounts = self.mounts_of(id).await?;
        if let Some(state) = state {
            // One that is on record and not mounted does not count: its publishing failed.
            let others = state.targets.keys().filter_map(|path| mount::resolve(path).ok());
            let mut others = others.filter(|path| *path != target);
            return Ok(!others.any(|path| mounts.iter().any(|mount| mount.path == path)));
        }
        // Without a state the kernel tells: one mount may be the staged one, the rest are targets.
        let internal = self.internal_mount(id);
        let block = mounts.iter().all(|mount| mount.fs_type == "devtmpfs");
        let others = mounts.iter().filter(|it| it.path != target && it.path != internal).count();
        Ok(others <= usize::from(self.config.profile.staging && !block))
    }

    /// Unmounts the target and removes it. Something else that is mounted there stays.
    async fn hide(
        &self,
        id: &VolumeId,
        path: &Path,
        state: Option<&VolumeState>,
        expected: bool,
    ) -> Result<()> {
        let known = state.is_some_and(|state| state.targets.contains_key(path));
        let resolved = mount::resolve(path)?;
        let mut ours = known;
        if let Some(mount) = self.mount_at(path).await? {
            let volume = self.devices.identify(mount.device_node()).await?;
            // The device node of a block volume stays mounted when the device behind it is gone.
            let orphan = known && volume.is_none() && mount.fs_type == "devtmpfs";
            ours = orphan || volume.as_ref() == Some(id);
            if !ours {
                let why =
                    format!("is a mount of {} and not of this volume", mount.source.display());
                return Err(NodeError::BadPath { path: resolved, why });
            }
        }
        if !ours && !expected {
            return Ok(());
        }
        self.unmount(resolved.clone()).await?;
        blocking(move || target::remove(&resolved)).await
    }

    async fn close_internal(&self, id: &VolumeId, known: bool) -> Result<()> {
        self.close(id).await?;
        if !known {
            // The id of a stranger, which is not to become a path.
            return Ok(());
        }
        let internal = self.internal_mount(id);
        blocking(move || target::remove(&internal)).await
    }
}
