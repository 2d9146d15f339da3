//! How full a volume is.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::error::{NodeError, Result};

/// Used and free amounts of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// What can be had.
    pub available: u64,
    /// What there is.
    pub total: u64,
    /// What is taken.
    pub used: u64,
}

/// Bytes and inodes of the file system that is mounted at `path`.
pub fn filesystem(path: &Path) -> Result<(Amount, Amount)> {
    let stats = statvfs(path).map_err(NodeError::kernel("measure", path))?;
    let fragment = stats.fragment_size();
    let bytes = Amount {
        available: stats.blocks_available() * fragment,
        total: stats.blocks() * fragment,
        used: stats.blocks().saturating_sub(stats.blocks_free()) * fragment,
    };
    let inodes = Amount {
        available: stats.files_available(),
        total: stats.files(),
        used: stats.files().saturating_sub(stats.files_free()),
    };
    Ok((bytes, inodes))
}

/// The size of the block device at `path`; how much of it is used is its user's knowledge.
pub fn device(path: &Path) -> Result<u64> {
    let file = std::fs::File::open(path).map_err(NodeError::io("open", path))?;
    crate::device::size(&file).map_err(NodeError::kernel("measure", path))
}
