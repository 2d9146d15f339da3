//! `NodeGetVolumeStats`.

use std::path::Path;

use stead_model::Error;
use stead_model::name::VolumeId;
use stead_proto::csi::v1::volume_usage::Unit;
use stead_proto::csi::v1::{NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, VolumeUsage};
use stead_proto::request::required;

use super::Host;
use crate::blocking::blocking;
use crate::error::Result;
use crate::mount;
use crate::mount::table::Mount;
use crate::stats::{self, Amount};

impl Host {
    pub(super) async fn stats(
        &self,
        request: &NodeGetVolumeStatsRequest,
    ) -> Result<NodeGetVolumeStatsResponse> {
        let id: VolumeId = required("volume_id", &request.volume_id)?;
        let (mount, path) = self.locate(&id, &request.volume_path).await?;
        let usage = blocking(move || {
            if crate::device::number(&path).is_some() {
                let total = stats::device(&path)?;
                let all = Amount { available: 0, total, used: total };
                return Ok(vec![usage(all, Unit::Bytes)]);
            }
            let (bytes, inodes) = stats::filesystem(&mount.path)?;
            Ok(vec![usage(bytes, Unit::Bytes), usage(inodes, Unit::Inodes)])
        });
        Ok(NodeGetVolumeStatsResponse { usage: usage.await? })
    }

    /// The mount of the volume at a path of a request; the kernel answers this without the store, which
    /// is not asked each minute for each volume.
    pub(super) async fn locate(
        &self,
        id: &VolumeId,
        text: &str,
    ) -> Result<(Mount, std::path::PathBuf)> {
        if text.is_empty() {
            return Err(Error::invalid("volume_path is missing").into());
        }
        let absent = || Error::not_found(format!("volume '{id}' is not at that path on this node"));
        let path = Path::new(text);
        if !path.is_absolute() {
            return Err(absent().into());
        }
        let resolved = mount::resolve(path)?;
        let mount = self.mount_at(&resolved).await?.ok_or_else(absent)?;
        if self.devices.identify(mount.device_node()).await?.as_ref() != Some(id) {
            return Err(absent().into());
        }
        Ok((mount, resolved))
    }
}

fn usage(amount: Amount, unit: Unit) -> VolumeUsage {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    VolumeUsage {
        available: number(amount.available),
        total: number(amount.total),
        used: number(amount.used),
        unit: unit.into(),
    }
}
