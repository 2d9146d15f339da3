//! What is on a device, and making a file system only where that cannot lose anything.

pub mod prepare;
pub mod probe;
pub mod tools;

mod superblock;

use std::fmt;
use std::str::FromStr;

use stead_model::Error;

/// A file system that we make, mount and grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FsKind {
    /// ext4.
    #[default]
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
}

impl FsKind {
    /// Its name to the kernel.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

impl fmt::Display for FsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FsKind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "ext4" => Ok(Self::Ext4),
            "xfs" => Ok(Self::Xfs),
            "btrfs" => Ok(Self::Btrfs),
            other => Err(Error::invalid(format!(
                "fs_type '{}' is not supported: use ext4, xfs or btrfs",
                other.escape_default()
            ))),
        }
    }
}

/// A file system as its superblock describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// Which one.
    pub kind: FsKind,
    /// How many bytes of the device it uses.
    pub size: u64,
    /// Whether it was left in order: a check before the mount can be spared.
    pub clean: bool,
}

/// What a device holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Proven empty: every byte where anything could begin is zero.
    Blank,
    /// A file system of ours.
    Filesystem(Filesystem),
    /// Something known that is not ours to touch.
    Foreign(&'static str),
    /// Bytes that say nothing to us.
    Unrecognised,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("nothing"),
            Self::Filesystem(filesystem) => filesystem.kind.fmt(f),
            Self::Foreign(what) => f.write_str(what),
            Self::Unrecognised => f.write_str("data of an unknown kind"),
        }
    }
}
