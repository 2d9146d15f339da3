//! Taking a volume off this node: its mounts, then its device.

use std::path::{Path, PathBuf};
use std::time::Duration;

use stead_model::name::{Term, VolumeId};

use super::Host;
use crate::blocking::blocking;
use crate::error::{NodeError, Result};
use crate::mount::table::Mount;
use crate::mount::{self, table};
use crate::state::{Shape, VolumeState};

/// How often a busy mount is tried before it is reported.
const UNMOUNT_ATTEMPTS_MAX: u32 = 5;

/// How long to wait between two attempts.
const UNMOUNT_PAUSE: Duration = Duration::from_millis(100);

impl Host {
    /// Every mount of the volume, and of its device node, that this host has.
    pub(super) async fn mounts_of(&self, volume: &VolumeId) -> Result<Vec<Mount>> {
        let numbers: Vec<u64> =
            self.devices.find(volume).await?.iter().map(|device| device.number).collect();
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        blocking(move || {
            let mut mounts = table::read()?;
            mounts.retain(|mount| mount.device().is_some_and(|number| numbers.contains(&number)));
            Ok(mounts)
        })
        .await
    }

    /// Whether the volume really is where the state says that it is staged.
    pub(super) async fn is_staged(&self, volume: &VolumeId, state: &VolumeState) -> Result<bool> {
        let Some(staging) = &state.staging else { return Ok(false) };
        if state.shape == Shape::Block {
            return Ok(!self.devices.find(volume).await?.is_empty());
        }
        self.is_mounted(volume, &staging.path).await
    }

    /// Whether what is mounted at the path is this volume.
    pub(super) async fn is_mounted(&self, volume: &VolumeId, path: &Path) -> Result<bool> {
        let Some(mount) = self.mount_at(path).await? else { return Ok(false) };
        Ok(self.devices.identify(mount.device_node()).await?.as_ref() == Some(volume))
    }

    /// What is mounted at the path.
    pub(super) async fn mount_at(&self, path: &Path) -> Result<Option<Mount>> {
        let path = path.to_owned();
        blocking(move || table::at(&mount::resolve(&path)?)).await
    }

    /// Unmounts whatever is at the path. A process that just ended, or one that only looked, is given a
    /// moment to let go.
    pub(super) async fn unmount(&self, path: PathBuf) -> Result<()> {
        for _ in 1..UNMOUNT_ATTEMPTS_MAX {
            let path = path.clone();
            match blocking(move || mount::unmount(&path)).await {
                Err(NodeError::InUse { .. }) => tokio::time::sleep(UNMOUNT_PAUSE).await,
                outcome => return outcome,
            }
        }
        blocking(move || mount::unmount(&path)).await
    }

    /// Takes every mount and every device of the volume away; the last mounted goes first.
    pub(super) async fn close(&self, volume: &VolumeId) -> Result<()> {
        let mounts = self.mounts_of(volume).await?;
        for mount in mounts.into_iter().rev() {
            self.unmount(mount.path).await?;
        }
        self.devices.detach(volume).await
    }

    /// Takes the volume away if its device is of another term; says whether it did.
    ///
    /// Between that term and this one another node may have written to the volume, and the file
    /// system that is mounted here would not know: using it on would destroy what was written.
    pub(super) async fn evict_outdated(&self, volume: &VolumeId, term: Term) -> Result<bool> {
        let devices = self.devices.find(volume).await?;
        if devices.iter().all(|device| device.term == Some(term)) {
            return Ok(false);
        }
        tracing::warn!(%volume, %term, "taking away what an earlier term left mounted");
        self.close(volume).await?;
        Ok(true)
    }
}
