//! What the kernel cannot tell: which paths belong to which volume, and how they were asked for.
//!
//! One small JSON file for each volume, replaced atomically. `NodeUnpublishVolume` and
//! `NodeUnstageVolume` carry no context, so they live by this; where it is lost, the mount table and
//! the labels of the loop devices say enough to tear down.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stead_model::name::{Term, VolumeId};
use stead_model::record::HoldKey;

use crate::error::{NodeError, Result};

/// How a volume is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// As a file system.
    Mount,
    /// As a device.
    Block,
}

/// Where a volume is staged and how that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staging {
    /// The path; an internal one where the orchestrator does not stage.
    pub path: PathBuf,
    /// A digest of the capability: never the capability itself, whose mount flags may be secret.
    pub fingerprint: String,
}

/// A published path and how that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Whether writing is refused there.
    pub readonly: bool,
    /// A digest of the capability.
    pub fingerprint: String,
    /// Whether no other workload may have the volume at the same time.
    pub exclusive: bool,
}

/// What this node does with a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeState {
    /// The volume.
    pub volume: VolumeId,
    /// The record of who holds it.
    pub hold: HoldKey,
    /// Whether the member's network identity follows it.
    pub primary: bool,
    /// The term it is used with.
    pub term: Term,
    /// As a file system or as a device.
    pub shape: Shape,
    /// Where it is staged.
    pub staging: Option<Staging>,
    /// Where it is published.
    pub targets: BTreeMap<PathBuf, Target>,
}

/// The directory of the state files.
#[derive(Debug, Clone)]
pub struct StateStore {
    directory: PathBuf,
}

impl StateStore {
    /// The files below `state_dir`, which is made if it is missing.
    pub fn open(state_dir: &Path) -> Result<Self> {
        let directory = state_dir.join("volumes");
        fs::create_dir_all(&directory).map_err(NodeError::io("create", &directory))?;
        Ok(Self { directory })
    }

    /// What is known of a volume. A file that cannot be read counts as lost: the callers then
    /// ask the kernel.
    pub fn load(&self, volume: &VolumeId) -> Option<VolumeState> {
        match read(&self.file(volume)?) {
            Ok(state) => state,
            Err(error) => {
                tracing::warn!(%volume, %error, "the state of a volume is lost; going by the kernel");
                None
            }
        }
    }

    /// Remembers what is known of a volume.
    pub fn save(&self, state: &VolumeState) -> Result<()> {
        let path = self.file(&state.volume).ok_or_else(|| NodeError::BadPath {
            path: self.directory.clone(),
            why: format!("cannot keep a file for volume '{}'", state.volume),
        })?;
        let text = serde_json::to_vec_pretty(state)
            .map_err(|source| NodeError::BadState { path: path.clone(), source })?;
        let temporary = path.with_extension("tmp");
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.directory)?.sync_all()
        });
        written.map_err(NodeError::io("write", &path))
    }

    /// Forgets a volume.
    pub fn remove(&self, volume: &VolumeId) -> Result<()> {
        let Some(path) = self.file(volume) else { return Ok(()) };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(NodeError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Every volume of which something is known.
    pub fn all(&self) -> Result<Vec<VolumeState>> {
        let entries =
            fs::read_dir(&self.directory).map_err(NodeError::io("list", &self.directory))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let ids = names.filter_map(|name| name.strip_suffix(".json")?.parse().ok());
        Ok(ids.filter_map(|id| self.load(&id)).collect())
    }

    /// The file of a volume; none for an id that could name another place. Ours never do, but an
    /// orchestrator may ask for anything.
    fn file(&self, volume: &VolumeId) -> Option<PathBuf> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fine = volume.as_str().bytes().all(plain);
        fine.then(|| self.directory.join(format!("{volume}.json")))
    }
}

fn read(path: &Path) -> Result<Option<VolumeState>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NodeError::io("read", path)(error)),
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| NodeError::BadState { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(volume: &str) -> VolumeState {
        let volume: VolumeId = volume.parse().unwrap();
        VolumeState {
            hold: HoldKey::Volume(volume.clone()),
            volume,
            primary: false,
            term: Term(3),
            shape: Shape::Mount,
            staging: None,
            targets: BTreeMap::new(),
        }
    }

    #[test]
    fn a_state_survives_and_a_torn_one_counts_as_lost() {
        let directory = tempfile::tempdir().unwrap();
        let store = StateStore::open(directory.path()).unwrap();
        let state = state("vol-1");
        store.save(&state).unwrap();
        assert_eq!(store.load(&state.volume), Some(state.clone()));
        assert_eq!(store.all().unwrap(), vec![state.clone()]);
        fs::write(directory.path().join("volumes/vol-1.json"), b"{").unwrap();
        assert_eq!(store.load(&state.volume), None);
        store.remove(&state.volume).unwrap();
        store.remove(&state.volume).unwrap();
    }

    #[test]
    fn the_id_of_a_stranger_is_never_a_path() {
        let directory = tempfile::tempdir().unwrap();
        let store = StateStore::open(directory.path()).unwrap();
        let stranger = "../../etc/passwd".parse().unwrap();
        assert_eq!(store.load(&stranger), None);
        assert!(store.remove(&stranger).is_ok());
        assert!(store.save(&state("../x")).is_err());
    }
}
