//! The block device of a volume, found by what it is and never by what it is called.

mod ioctl;
pub mod loops;
pub mod pool;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use stead_model::name::{Bytes, Term, VolumeId};

use crate::error::Result;

pub use ioctl::size;
pub use pool::Pool;

/// A volume to bring to this node.
#[derive(Debug, Clone)]
pub struct Attach {
    /// The volume.
    pub volume: VolumeId,
    /// What the controller's attachment said: `publish_context`.
    pub context: BTreeMap<String, String>,
    /// The term of the hold.
    pub term: Term,
    /// Whether the device itself has to refuse writes.
    pub readonly: bool,
    /// Whether the kernel may let go of the device by itself when nobody has it open any more: right
    /// for one that will be mounted, wrong for one that is only passed on.
    pub transient: bool,
}

/// A block device with a volume behind it.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its node below `/dev`.
    pub path: PathBuf,
    /// The number of that node.
    pub number: u64,
    /// The volume.
    pub volume: VolumeId,
    /// The term it was attached with; none where it does not say.
    pub term: Option<Term>,
    /// Whether it refuses writes.
    pub readonly: bool,
    /// Keeps a transient device alive until it is mounted.
    pub open: Option<Arc<OwnedFd>>,
}

/// Finds the devices of volumes; one implementation for each back end.
#[async_trait]
pub trait DeviceFinder: Send + Sync {
    /// The device of a volume, made where there is none. A device of another term is an error and is
    /// left alone: what its file system has in memory may be older than the volume.
    async fn attach(&self, request: &Attach) -> Result<Device>;

    /// Lets go of every device of the volume. Absent is success; one in use is
    /// [`Kind::Precondition`](stead_model::Kind) and names who uses it.
    async fn detach(&self, volume: &VolumeId) -> Result<()>;

    /// Makes the devices of the volume as large as the volume is now; says how large that is.
    async fn grow(&self, volume: &VolumeId) -> Result<Bytes>;

    /// The devices of the volume on this node now.
    async fn find(&self, volume: &VolumeId) -> Result<Vec<Device>>;

    /// Every device of a volume on this node now.
    async fn all(&self) -> Result<Vec<Device>>;

    /// The volume behind the device node at `path`; none where it is not of this back end.
    async fn identify(&self, path: &Path) -> Result<Option<VolumeId>>;

    /// Whether the back end can be reached from this node; the error says why not.
    async fn check(&self) -> Result<()>;
}

/// The number of the device node at `path`; none where it is no block device.
pub fn number(path: &Path) -> Option<u64> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let metadata = std::fs::metadata(path).ok()?;
    metadata.file_type().is_block_device().then(|| metadata.rdev())
}
