//! What can go wrong on a node, and what the caller may do about each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use stead_model::Kind;
use stead_model::name::{NodeId, Term, VolumeId};

/// The result of everything in this crate.
pub type Result<T, E = NodeError> = std::result::Result<T, E>;

/// An error of the node plugin: each message says what to change, or what to look at.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are the terms that the messages speak of.
pub enum NodeError {
    /// Something below answered with an error of its own.
    #[error(transparent)]
    Model(#[from] stead_model::Error),
    /// A file or device could not be read or written.
    #[error("cannot {what} {}", path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    /// A kernel call failed.
    #[error("cannot {what} {}", path.display())]
    Kernel { what: &'static str, path: PathBuf, source: nix::errno::Errno },
    /// The pool's directory is not the pool.
    #[error(
        "{} is no pool of this host: pool.json is missing; mount the pool there",
        root.display()
    )]
    NoPool { root: PathBuf },
    /// The controller gave the volume to somebody else, or to nobody.
    #[error(
        "volume '{volume}' is claimed by {owner} with term {claimed}, not by node '{node}' with term {term}: \
         publish it to this node first"
    )]
    NotClaimed { volume: VolumeId, owner: String, claimed: Term, node: NodeId, term: Term },
    /// A loop device of an earlier term is still there and somebody uses it.
    #[error("{} still has volume '{volume}' open from an earlier term, used by {users}: end that first", device.display())]
    Outdated { device: PathBuf, volume: VolumeId, users: String },
    /// Every attempt to get a free loop device lost to somebody else.
    #[error("no loop device could be had in {attempts} attempts: others keep taking them")]
    NoLoop { attempts: u32 },
    /// Direct I/O was demanded and the pool's file system cannot do it.
    #[error(
        "{} cannot be read with direct I/O here: use direct-io=auto, or a pool that supports it",
        image.display()
    )]
    NoDirectIo { image: PathBuf },
    /// A device or mount point is still in use, so nothing was released.
    #[error("{} is still in use by {users}: end that and repeat", path.display())]
    InUse { path: PathBuf, users: String },
    /// A mkfs, fsck or resize program is not installed.
    #[error("'{program}' is not installed: install the Debian package '{package}' on this node")]
    MissingTool { program: &'static str, package: &'static str },
    /// Such a program failed.
    #[error("'{program}' ended with {status}: {stderr}")]
    Tool { program: &'static str, status: String, stderr: String },
    /// Such a program did not end in time and was killed.
    #[error("'{program}' did not end within {} s and was killed", limit.as_secs())]
    ToolDeadline { program: &'static str, limit: Duration },
    /// The plugin may not do what growing takes.
    #[error(
        "ext4 grows while mounted only with CAP_SYS_RESOURCE: give the node plugin that capability"
    )]
    MayNotGrow,
    /// The file system is damaged beyond what may be repaired without a person.
    #[error("the file system on {} needs a person to run fsck: {report}", device.display())]
    Damaged { device: PathBuf, report: String },
    /// Nothing may be formatted, because what is there is not ours to lose.
    #[error(
        "volume '{volume}' is not formatted: its device holds {found}; use an empty volume, or wipe it yourself"
    )]
    NotBlank { volume: VolumeId, found: String },
    /// Nothing may be formatted, because a workload may have data anywhere on the device.
    #[error(
        "volume '{volume}' is not formatted: it was used as a raw block device; use it as one, or use another volume"
    )]
    UsedRaw { volume: VolumeId },
    /// The file system is another one than asked for.
    #[error("volume '{volume}' has {found}, not {wanted}: ask for {found}, or for another volume")]
    OtherFilesystem { volume: VolumeId, found: String, wanted: String },
    /// The store says that there is a file system and the device says otherwise.
    #[error(
        "volume '{volume}' was formatted with {expected} but its device holds {found}: \
         nothing was changed; check the pool and restore from a snapshot"
    )]
    LostFilesystem { volume: VolumeId, expected: String, found: String },
    /// A path is not fit for what is asked of it.
    #[error("{} {why}", path.display())]
    BadPath { path: PathBuf, why: String },
    /// A state file holds what nobody wrote.
    #[error("the state file {} cannot be read", path.display())]
    BadState { path: PathBuf, source: serde_json::Error },
    /// A panic; the log has it.
    #[error("an operation ended without an outcome: see the log for its panic")]
    Panicked,
}

impl NodeError {
    /// Wraps an error of `std::io`; made for `map_err`.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    /// Wraps an error number; made for `map_err`.
    pub fn kernel(what: &'static str, path: &Path) -> impl FnOnce(nix::errno::Errno) -> Self {
        let path = path.to_owned();
        move |source| Self::Kernel { what, path, source }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Model(error) => error.kind(),
            Self::Io { .. } | Self::Kernel { .. } | Self::NoLoop { .. } => Kind::Unavailable,
            Self::NoPool { .. } | Self::ToolDeadline { .. } => Kind::Unavailable,
            Self::NotClaimed { .. } | Self::Outdated { .. } | Self::InUse { .. } => {
                Kind::Precondition
            }
            Self::NoDirectIo { .. } | Self::MissingTool { .. } | Self::MayNotGrow => {
                Kind::Precondition
            }
            Self::NotBlank { .. } | Self::OtherFilesystem { .. } | Self::BadPath { .. } => {
                Kind::Precondition
            }
            Self::UsedRaw { .. } => Kind::Precondition,
            Self::Tool { .. } | Self::Damaged { .. } | Self::LostFilesystem { .. } => Kind::Corrupt,
            Self::BadState { .. } | Self::Panicked => Kind::Corrupt,
        }
    }
}

impl From<NodeError> for stead_model::Error {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Model(error) => error,
            NodeError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                stead_model::Error::exhausted("the node's disk is full").because(source)
            }
            NodeError::Io { ref what, ref path, .. } => {
                let message = format!("cannot {what} {}", path.display());
                let shown = stead_model::Error::new(error.kind(), message);
                match error {
                    NodeError::Io { source, .. } => shown.because(source),
                    _ => shown,
                }
            }
            other => {
                let shown = stead_model::Error::new(other.kind(), other.to_string());
                match other {
                    NodeError::Kernel { source, .. } => shown.because(source),
                    NodeError::BadState { source, .. } => shown.because(source),
                    _ => shown,
                }
            }
        }
    }
}
