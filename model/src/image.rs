//! How a pool of image files is laid out, as the controller and every node must agree on it.
//!
//! ```text
//! POOL/pool.json                    the mark of a pool: an unmounted directory lacks it
//! POOL/volumes/VOLUME/image         the sparse image
//! POOL/volumes/VOLUME/claim.json    who may open the image: a `Claim`
//! POOL/volumes/VOLUME/parameters.json  the parameters it was made with, and what changed since
//! POOL/volumes/VOLUME/lock          flock(2)ed while the claim changes
//! POOL/snapshots/SNAPSHOT/image     a snapshot's image, never written again
//! POOL/snapshots/SNAPSHOT/snapshot.json
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::name::{NodeId, SnapshotId, Term, VolumeId};

/// In `publish_context`: the id of the back end, here `pool`.
pub const BACKEND_KEY: &str = "stead.dev/backend";
/// In `publish_context`: the term of the hold.
pub const TERM_KEY: &str = "stead.dev/term";
/// Among a volume's parameters: the file system for a capability that names none.
pub const FS_TYPE: &str = "fsType";
/// In `publish_context`: how the loop device reads the image: `auto`, `on` or `off`.
pub const DIRECT_IO_KEY: &str = "pool.stead.dev/direct-io";

/// Who may open an image. The node reads it before it attaches a device and refuses another's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The node; none while the volume is detached.
    pub node: Option<NodeId>,
    /// The highest term ever seen: it stays when the claim ends.
    pub term: Term,
}

/// The paths below a pool's directory, wherever this host has it mounted.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The mark of a pool.
    pub fn mark(&self) -> PathBuf {
        self.root.join("pool.json")
    }

    /// The directory of all volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// The directory of a volume. Ids are ours (`vol-` and hexadecimal digits): callers look an id up
    /// in the store before they come here, so a stranger's text never becomes a path.
    pub fn volume(&self, id: &VolumeId) -> PathBuf {
        self.volumes().join(id.as_str())
    }

    /// The image of a volume.
    pub fn image(&self, id: &VolumeId) -> PathBuf {
        self.volume(id).join("image")
    }

    /// The claim on a volume.
    pub fn claim(&self, id: &VolumeId) -> PathBuf {
        self.volume(id).join("claim.json")
    }

    /// What is locked while the claim on a volume changes.
    pub fn lock(&self, id: &VolumeId) -> PathBuf {
        self.volume(id).join("lock")
    }

    /// The volume that an image belongs to, by its path below this root.
    pub fn volume_of(&self, image: &Path) -> Option<VolumeId> {
        let below = image.strip_prefix(self.volumes()).ok()?;
        let mut parts = below.iter();
        let id = parts.next()?.to_str()?.parse().ok()?;
        (parts.next()? == "image" && parts.next().is_none()).then_some(id)
    }

    /// The directory of all snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// The directory of a snapshot.
    pub fn snapshot(&self, id: &SnapshotId) -> PathBuf {
        self.snapshots().join(id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_leads_back_to_its_volume() {
        let layout = Layout::new("/pool");
        let id: VolumeId = "vol-1".parse().unwrap();
        assert_eq!(layout.volume_of(&layout.image(&id)), Some(id));
        assert_eq!(layout.volume_of(Path::new("/pool/snapshots/s/image")), None);
        assert_eq!(layout.volume_of(Path::new("/other/volumes/v/image")), None);
    }
}
