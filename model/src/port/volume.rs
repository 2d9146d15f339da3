//! `VolumeBackend`: block volumes, split by capability so that each part stays small.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;

use crate::Result;
use crate::name::{Bytes, NodeId, SnapshotId, Term, VolumeId};

/// What a new volume is filled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The content of another volume, now.
    Volume(VolumeId),
    /// The content of a snapshot.
    Snapshot(SnapshotId),
}

/// A volume to make.
#[derive(Debug, Clone)]
pub struct VolumeRequest {
    /// Its handle, chosen by the caller and never used for another volume.
    pub id: VolumeId,
    /// Its size; not below that of the source.
    pub size: Bytes,
    /// Its content; none means blank, every byte zero.
    pub source: Option<Source>,
    /// The back end's own parameters, already checked by [`AdjustBackend::check`].
    pub parameters: BTreeMap<String, String>,
}

/// A volume as the back end has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendVolume {
    /// Its handle.
    pub id: VolumeId,
    /// Its size.
    pub size: Bytes,
    /// The node it is attached to and the term of that attachment.
    pub attached: Option<(NodeId, Term)>,
}

/// A volume to attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    /// The volume.
    pub volume: VolumeId,
    /// The node to attach it to.
    pub node: NodeId,
    /// The term of the hold; never below that of an earlier attachment.
    pub term: Term,
}

/// What the node needs to know to find the device: it travels in `publish_context`, so no secrets.
pub type Attachment = BTreeMap<String, String>;

/// How sure it is that a fenced node can no longer write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FenceStrength {
    /// The back end can only ask the node: proof of its death must come from elsewhere.
    Cooperative,
    /// The storage itself no longer lets the node's writes reach the volume.
    Enforced,
}

/// Room for volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// What new volumes may take together.
    pub available: Bytes,
    /// The largest volume that can be made.
    pub volume_max: Bytes,
    /// The smallest volume that can be made.
    pub volume_min: Bytes,
}

/// How far a copy has come: bytes done of bytes in all. Cheap to clone and to read while it runs.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<(AtomicU64, AtomicU64)>);

impl Progress {
    /// Sets how much there is to do.
    pub fn expect(&self, total: Bytes) {
        self.0.1.store(total.0, Ordering::Relaxed);
    }

    /// Sets how much is done.
    pub fn reach(&self, done: Bytes) {
        self.0.0.store(done.0, Ordering::Relaxed);
    }

    /// What is done, and what there is to do in all; the latter is 0 before a copy began.
    pub fn read(&self) -> (Bytes, Bytes) {
        (Bytes(self.0.0.load(Ordering::Relaxed)), Bytes(self.0.1.load(Ordering::Relaxed)))
    }
}

/// Volumes that can be made, attached to one node at a time, and fenced.
///
/// Every method may be repeated after a crash at any point and then completes what was begun.
#[async_trait]
pub trait VolumeBackend: Send + Sync {
    /// Makes the volume and returns its real size, at least the one asked for. Repeating it with the
    /// same id succeeds; with another size it is [`Kind::AlreadyExists`](crate::Kind). A missing source is
    /// [`Kind::NotFound`](crate::Kind); a size beyond what could ever fit is
    /// [`Kind::OutOfRange`](crate::Kind), beyond what fits now [`Kind::Exhausted`](crate::Kind).
    async fn create(&self, request: &VolumeRequest, progress: &Progress) -> Result<Bytes>;

    /// Deletes the volume. Deleting an absent one succeeds; an attached one is
    /// [`Kind::Precondition`](crate::Kind) and stays as it was.
    async fn delete(&self, id: &VolumeId) -> Result<()>;

    /// Attaches the volume. Repeating it returns the same. Attached to another node, or a term below
    /// the last one, is [`Kind::Precondition`](crate::Kind) and the message names that node.
    async fn attach(&self, request: &Attach) -> Result<Attachment>;

    /// Ends the attachment to exactly this node; one to another node is left alone. Absent is success.
    async fn detach(&self, id: &VolumeId, node: &NodeId) -> Result<()>;

    /// Refuses every attachment of a term below this one from now on and says how surely writes of
    /// the earlier holder are kept out.
    async fn fence(&self, id: &VolumeId, term: Term) -> Result<FenceStrength>;

    /// The volumes with an id behind `after`, in order, `limit` at most.
    async fn list(&self, after: Option<&VolumeId>, limit: usize) -> Result<Vec<BackendVolume>>;

    /// What room there is.
    async fn capacity(&self) -> Result<Capacity>;

    /// Where its volumes can be reached: topology segments, empty for everywhere.
    fn topology(&self) -> BTreeMap<String, String>;
}

/// Volumes that can be changed while they are in use.
#[async_trait]
pub trait AdjustBackend: Send + Sync {
    /// Checks parameters before anything is made with them: one that is unknown, or has a value that
    /// cannot be, is [`Kind::Invalid`](crate::Kind) and the message lists what is known.
    fn check(&self, parameters: &BTreeMap<String, String>) -> Result<()>;

    /// Grows the volume to at least `size` and returns its real size. One that is that large already
    /// stays as it is; it never shrinks.
    async fn expand(&self, id: &VolumeId, size: Bytes) -> Result<Bytes>;

    /// Changes mutable parameters, all or none; a key that is absent keeps its value.
    async fn modify(&self, id: &VolumeId, parameters: &BTreeMap<String, String>) -> Result<()>;
}

/// A snapshot to take.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    /// Its handle, chosen by the caller and never used for another snapshot.
    pub id: SnapshotId,
    /// The volume to take it of.
    pub volume: VolumeId,
}

/// A snapshot as the back end has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenSnapshot {
    /// Its handle.
    pub id: SnapshotId,
    /// The size of the volume when it was taken: what a restore needs at least.
    pub size: Bytes,
    /// When the cut was made.
    pub taken_at: SystemTime,
}

/// Volumes that can be copied at a point in time.
#[async_trait]
pub trait SnapshotBackend: Send + Sync {
    /// Takes the snapshots, all at one point in time or none of them. Repeating it returns those that
    /// exist. A volume whose cut cannot be made consistent now is [`Kind::Precondition`](crate::Kind).
    async fn snapshot(
        &self,
        requests: &[SnapshotRequest],
        progress: &Progress,
    ) -> Result<Vec<TakenSnapshot>>;

    /// Deletes the snapshot. Absent is success. Volumes that were made from it keep their content.
    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<()>;

    /// The snapshots that the back end has, whatever made them.
    async fn snapshots(&self) -> Result<Vec<TakenSnapshot>>;
}

/// A back end with every capability, as the controller takes it.
pub trait Volumes: VolumeBackend + AdjustBackend + SnapshotBackend {}

impl<B: VolumeBackend + AdjustBackend + SnapshotBackend> Volumes for B {}

#[cfg(any(test, feature = "contract"))]
pub mod contract;
