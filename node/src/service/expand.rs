//! `NodeExpandVolume`.

use stead_model::Error;
use stead_model::name::VolumeId;
use stead_proto::csi::v1::{NodeExpandVolumeRequest, NodeExpandVolumeResponse};
use stead_proto::request::{SizeRange, access, check_map, required};

use super::Host;
use crate::error::Result;
use crate::filesystem::prepare;
use crate::state::Shape;

impl Host {
    pub(super) async fn expand(
        &self,
        request: &NodeExpandVolumeRequest,
    ) -> Result<NodeExpandVolumeResponse> {
        let id: VolumeId = required("volume_id", &request.volume_id)?;
        check_map("secrets", &request.secrets)?;
        if request.volume_path.is_empty() {
            return Err(Error::invalid("volume_path is missing").into());
        }
        let range = SizeRange::parse(request.capacity_range.as_ref())?;
        // The kubelet names a directory or a link of its own for a block volume, where nothing of the
        // volume is to be found.
        let block = self.states.load(&id).is_some_and(|state| state.shape == Shape::Block);
        let place = if block { None } else { Some(self.locate(&id, &request.volume_path).await?) };
        let block = place.as_ref().is_none_or(|(_, path)| crate::device::number(path).is_some());
        // The capability is optional here, and a wrong one is INVALID_ARGUMENT.
        if request.volume_capability.is_some()
            && access(request.volume_capability.as_ref())?.block != block
        {
            let is = if block { "a block device" } else { "a file system" };
            return Err(Error::invalid(format!("volume '{id}' is published as {is}")).into());
        }
        let size = self.devices.grow(&id).await?;
        if let Some(required) = range.required.filter(|required| *required > size) {
            return Err(Error::out_of_range(format!(
                "volume '{id}' has {size} bytes and {required} are asked for: ControllerExpandVolume comes first"
            ))
            .into());
        }
        if let Some((mount, path)) = place.filter(|(mount, _)| !block && !mount.super_readonly) {
            let kind = mount.fs_type.parse()?;
            // XFS and Btrfs grow through a path, and not through one that refuses writes.
            let writable = self.mounts_of(&id).await?.into_iter().find(|mount| !mount.readonly);
            let path = writable.map_or(path, |mount| mount.path);
            prepare::grow_if_smaller(kind, &mount.source, &path).await?;
        }
        let capacity_bytes = i64::try_from(size.0).unwrap_or(i64::MAX);
        Ok(NodeExpandVolumeResponse { capacity_bytes })
    }
}
