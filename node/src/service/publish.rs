//! `NodePublishVolume`.

use std::path::{Path, PathBuf};

use stead_model::Error;
use stead_model::hold::Stage;
use stead_model::name::VolumeId;
use stead_proto::csi::v1::NodePublishVolumeRequest;
use stead_proto::request::{check_map, required};

use super::Host;
use super::open::Opening;
use super::request::{Wanted, path, term};
use crate::blocking::blocking;
use crate::error::{NodeError, Result};
use crate::mount::{self, target};
use crate::state::{Shape, Target};

impl Host {
    pub(super) async fn publish(&self, request: &NodePublishVolumeRequest) -> Result<()> {
        let id: VolumeId = required("volume_id", &request.volume_id)?;
        let target = path("target_path", &request.target_path)?;
        let wanted = Wanted::parse(request.volume_capability.as_ref())?;
        check_map("publish_context", &request.publish_context)?;
        check_map("volume_context", &request.volume_context)?;
        check_map("secrets", &request.secrets)?;
        let staging = self.staging_path(&id, &request.staging_target_path)?;
        let volume = self.usable_volume(&id).await?;
        let term = term(&request.publish_context)?;
        let staged = self.config.profile.staging;
        let stage = if staged { Stage::Attached } else { Stage::Staged };
        let usage = self.raise(&volume, term, stage).await?;
        let held = wanted.readonly(usage.readonly);
        let opening = Opening {
            volume: &volume,
            context: &request.publish_context,
            term,
            wanted: &wanted,
            readonly: held || (request.readonly && wanted.shape == Shape::Block),
            path: staging,
        };
        let made = Target {
            readonly: held || request.readonly,
            fingerprint: wanted.fingerprint.clone(),
            exclusive: wanted.exclusive,
        };
        let shown = self.open_and_show(&opening, &target, made).await;
        if shown.is_err() && !staged {
            self.back_out(&volume).await;
        }
        shown?;
        self.raise(&volume, term, Stage::Published).await?;
        if volume.is_primary() {
            self.converge(&volume.hold_key()).await?;
        }
        Ok(())
    }

    async fn open_and_show(
        &self,
        opening: &Opening<'_>,
        target: &Path,
        made: Target,
    ) -> Result<()> {
        self.check_target(&opening.volume.id, target, &made).await?;
        if self.config.profile.staging {
            self.require_staged(opening).await?;
        } else {
            self.open(opening).await?;
        }
        let shown = self.show(opening, target, made).await;
        if shown.is_err() {
            let mut state = self.state_of(opening);
            state.targets.remove(target);
            self.states.save(&state)?;
        }
        shown
    }

    fn staging_path(&self, id: &VolumeId, text: &str) -> Result<PathBuf> {
        if !self.config.profile.staging {
            return Ok(self.internal_mount(id));
        }
        if text.is_empty() {
            let message = "staging_target_path is missing: NodeStageVolume comes first";
            return Err(Error::precondition(message).into());
        }
        Ok(path("staging_target_path", text)?)
    }

    /// Holds the request to the specification's table for repeated calls, before anything is made. A
    /// target that is on record and not mounted (the call failed, the host was rebooted) does not count.
    async fn check_target(&self, id: &VolumeId, target: &Path, made: &Target) -> Result<()> {
        let Some(state) = self.states.load(id) else { return Ok(()) };
        let mounted: Vec<PathBuf> =
            self.mounts_of(id).await?.into_iter().map(|mount| mount.path).collect();
        for (path, there) in state.targets {
            if !mounted.contains(&mount::resolve(&path)?) {
                continue;
            }
            let shown = path.display();
            if path == target && there != *made {
                return Err(Error::already_exists(format!(
                    "volume '{id}' is published at {shown} in another way: unpublish it there first"
                ))
                .into());
            }
            if path != target && (there.exclusive || made.exclusive) {
                return Err(Error::precondition(format!(
                    "volume '{id}' is published at {shown} and SINGLE_NODE_SINGLE_WRITER allows one: unpublish it there first"
                ))
                .into());
            }
        }
        Ok(())
    }

    /// Makes sure that the volume is staged where the request says, with this term.
    async fn require_staged(&self, opening: &Opening<'_>) -> Result<()> {
        let id = &opening.volume.id;
        let devices = self.devices.find(id).await?;
        let current = devices.iter().any(|device| device.term == Some(opening.term));
        let mounted = match opening.wanted.shape {
            Shape::Block => self.mounts_of(id).await?.iter().all(|m| m.fs_type == "devtmpfs"),
            Shape::Mount => self.is_mounted(id, &opening.path).await?,
        };
        if current && mounted {
            return Ok(());
        }
        Err(Error::precondition(format!(
            "volume '{id}' is not staged at {} with term {}: NodeStageVolume comes first",
            opening.path.display(),
            opening.term
        ))
        .into())
    }

    /// Lets the workload see the volume at the target.
    async fn show(&self, opening: &Opening<'_>, path: &Path, made: Target) -> Result<()> {
        let id = &opening.volume.id;
        let readonly = made.readonly;
        let mut state = self.state_of(opening);
        state.targets.insert(path.to_owned(), made);
        self.states.save(&state)?;
        let block = opening.wanted.shape == Shape::Block;
        let device = if block { Some(self.attach(opening).await?) } else { None };
        let shape = if block { target::Shape::File } else { target::Shape::Directory };
        let source = device.as_ref().map_or(opening.path.clone(), |device| device.path.clone());
        if let Some(there) = self.mount_at(path).await? {
            if self.devices.identify(there.device_node()).await?.as_ref() == Some(id)
                && (block || there.readonly == readonly)
            {
                return Ok(());
            }
            let why = format!("already has something else mounted: {}", there.source.display());
            return Err(NodeError::BadPath { path: path.to_owned(), why });
        }
        let (path, options) = (path.to_owned(), opening.wanted.options.clone());
        blocking(move || {
            let resolved = mount::resolve(&path)?;
            let created = target::create(&resolved, shape)?;
            // Again: a directory on the way may have been missing before.
            let resolved = mount::resolve(&resolved)?;
            let bound = target::check_empty(&resolved)
                .and_then(|()| mount::bind(&source, &resolved, readonly && !block, &options));
            if bound.is_err() && created {
                target::remove(&resolved)?;
            }
            bound
        })
        .await
    }
}
