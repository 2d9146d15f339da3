//! Bringing a volume to this node: its device, its file system, its one real mount.

use std::collections::BTreeMap;
use std::path::PathBuf;

use stead_model::hold::Stage;
use stead_model::image::FS_TYPE;
use stead_model::name::Term;
use stead_model::record::Volume;

use super::Host;
use super::request::Wanted;
use crate::blocking::blocking;
use crate::device::{Attach, Device};
use crate::error::{NodeError, Result};
use crate::filesystem::{FsKind, prepare};
use crate::mount;
use crate::ownership;
use crate::state::{Shape, Staging, VolumeState};

/// What is to be opened, and where.
pub(super) struct Opening<'a> {
    pub(super) volume: &'a Volume,
    pub(super) context: &'a BTreeMap<String, String>,
    pub(super) term: Term,
    pub(super) wanted: &'a Wanted,
    pub(super) readonly: bool,
    pub(super) path: PathBuf,
}

impl Host {
    /// Opens the volume at the path. What is open already, and as wanted, stays as it is.
    pub(super) async fn open(&self, opening: &Opening<'_>) -> Result<()> {
        let volume = opening.volume;
        if self.evict_outdated(&volume.id, opening.term).await? {
            self.states.remove(&volume.id)?;
        }
        let mut state = self.state_of(opening);
        let here = self.is_open(opening).await?;
        if let Some(staging) = &state.staging {
            // What the state says counts only where it came true.
            if here
                && staging.path == opening.path
                && staging.fingerprint != opening.wanted.fingerprint
            {
                return Err(stead_model::Error::already_exists(format!(
                    "volume '{}' is staged at {} with another capability: unstage it first",
                    volume.id,
                    staging.path.display()
                ))
                .into());
            }
            if staging.path != opening.path && self.is_staged(&volume.id, &state).await? {
                return Err(stead_model::Error::precondition(format!(
                    "volume '{}' is staged at {}: unstage it there first",
                    volume.id,
                    staging.path.display()
                ))
                .into());
            }
        }
        state.staging = Some(Staging {
            path: opening.path.clone(),
            fingerprint: opening.wanted.fingerprint.clone(),
        });
        state.term = opening.term;
        state.shape = opening.wanted.shape;
        // Before it happens: what a crash leaves behind has to be found again.
        self.states.save(&state)?;
        if opening.wanted.shape == Shape::Block && !opening.readonly {
            prepare::give_raw(&self.registry, volume).await?;
        }
        if !here {
            let device = self.attach(opening).await?;
            if opening.wanted.shape == Shape::Mount {
                self.mount(opening, &device).await?;
            }
        }
        match opening.wanted.shape {
            Shape::Block => Ok(()),
            Shape::Mount => self.settle(opening).await,
        }
    }

    /// Tells the store that an attempt to open came to nothing, so that the controller may give the volume
    /// to another node: an orchestrator does not undo a call that it was told has failed.
    pub(super) async fn back_out(&self, volume: &Volume) {
        let outcome = async {
            let internal = self.internal_mount(&volume.id);
            let mounts = self.mounts_of(&volume.id).await?;
            let staged = match self.states.load(&volume.id) {
                Some(state) if self.config.profile.staging => {
                    self.is_staged(&volume.id, &state).await?
                }
                _ => false,
            };
            // An earlier call may have opened it, and that one was not told that it failed.
            if !staged && mounts.iter().all(|mount| mount.path == internal) {
                // Also waits for a device that is just going away by itself.
                self.close(&volume.id).await?;
                self.lower(&volume.hold_key(), &volume.id, Stage::Attached).await?;
                self.states.remove(&volume.id)?;
            }
            Ok::<(), NodeError>(())
        };
        if let Err(error) = outcome.await {
            tracing::warn!(volume = %volume.id, %error, "cannot take back what the store was told");
        }
    }

    /// What is known of the volume, as far as it is still true of the one to be opened.
    pub(super) fn state_of(&self, opening: &Opening<'_>) -> VolumeState {
        self.states.load(&opening.volume.id).unwrap_or_else(|| VolumeState {
            volume: opening.volume.id.clone(),
            hold: opening.volume.hold_key(),
            primary: opening.volume.is_primary(),
            term: opening.term,
            shape: opening.wanted.shape,
            staging: None,
            targets: BTreeMap::new(),
        })
    }

    /// Whether the volume is open as the kernel says.
    async fn is_open(&self, opening: &Opening<'_>) -> Result<bool> {
        let id = &opening.volume.id;
        if opening.wanted.shape == Shape::Block {
            let devices = self.devices.find(id).await?;
            return Ok(devices.iter().any(|device| device.readonly == opening.readonly));
        }
        let Some(mount) = self.mount_at(&opening.path).await? else { return Ok(false) };
        if self.devices.identify(mount.device_node()).await?.as_ref() == Some(id) {
            return Ok(true);
        }
        let why = format!("already has something else mounted: {}", mount.source.display());
        Err(NodeError::BadPath { path: opening.path.clone(), why })
    }

    pub(super) async fn attach(&self, opening: &Opening<'_>) -> Result<Device> {
        let block = opening.wanted.shape == Shape::Block;
        let attach = Attach {
            volume: opening.volume.id.clone(),
            context: opening.context.clone(),
            term: opening.term,
            // A read-only mount of a volume that was cut off still has to replay its log: only where
            // the workload gets the device itself does the device refuse writes.
            readonly: opening.readonly && block,
            transient: !block,
        };
        self.devices.attach(&attach).await
    }

    async fn mount(&self, opening: &Opening<'_>, device: &Device) -> Result<()> {
        let (wanted, volume) = (opening.wanted, opening.volume);
        let filesystem = match wanted.filesystem {
            Some(kind) => Some(kind),
            // Swarm has no way to name a file system but a parameter of the volume.
            None => volume.parameters.get(FS_TYPE).map(|kind| kind.parse()).transpose()?,
        };
        let registry = &self.registry;
        let kind =
            prepare::prepare(registry, volume, &device.path, filesystem, opening.readonly).await?;
        let path = opening.path.clone();
        let source = device.path.clone();
        let options = self.options(opening, kind);
        blocking(move || {
            std::fs::create_dir_all(&path).map_err(NodeError::io("create", &path))?;
            mount::mount(&source, &path, kind, &options)
        })
        .await?;
        // Btrfs goes by its identifier and not by the device that it is given: where a copy and its
        // original meet, older kernels mount the wrong one.
        if self.is_mounted(&volume.id, &opening.path).await? {
            return Ok(());
        }
        self.unmount(opening.path.clone()).await?;
        let why = format!(
            "got another device's file system: the {kind} of volume '{}' has the identifier of one that is mounted already",
            volume.id
        );
        Err(NodeError::BadPath { path: opening.path.clone(), why })
    }

    /// What a mounted file system still needs, also where an earlier call came no further than that.
    async fn settle(&self, opening: &Opening<'_>) -> Result<()> {
        if opening.readonly {
            return Ok(());
        }
        if let Some(mount) = self.mount_at(&opening.path).await? {
            let kind = mount.fs_type.parse()?;
            prepare::grow_if_smaller(kind, &mount.source, &opening.path).await?;
        }
        let path = opening.path.clone();
        match opening.wanted.group {
            Some(group) => blocking(move || ownership::apply(&path, group)).await,
            None => Ok(()),
        }
    }

    fn options(&self, opening: &Opening<'_>, kind: FsKind) -> mount::flags::Options {
        let mut options = opening.wanted.options.clone();
        if opening.readonly {
            options.flags |= nix::mount::MsFlags::MS_RDONLY;
        }
        // XFS refuses a second file system with the same identifier, and a copy has its original's.
        if kind == FsKind::Xfs && opening.volume.origin.is_some() {
            options.add("nouuid");
        }
        options
    }
}
