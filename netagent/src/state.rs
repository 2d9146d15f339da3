//! What an agent leaves to its successor on the same host: until when its lease ran.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stead_model::name::{Epoch, NodeId};

use crate::error::{Error, Result};
use crate::lease::Lease;

/// Changes with every boot of the kernel.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The lease as it last was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Left {
    /// The node whose lease it was.
    pub(crate) node: NodeId,
    /// The boot in which it was won: times of another boot mean nothing.
    pub(crate) boot_id: String,
    /// The epoch of the lease.
    pub(crate) epoch: Epoch,
    /// The first epoch of that boot.
    pub(crate) booted: Epoch,
    /// When it ends, on the clock that counts from that boot.
    pub(crate) end_boottime_ms: u64,
}

impl Left {
    pub(crate) fn end(&self) -> Duration {
        Duration::from_millis(self.end_boottime_ms)
    }
}

/// The file with it. It need not survive a crash of the host, so it is never synced to disk.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    boot_id: String,
}

impl StateFile {
    pub(crate) async fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("lease.json");
        let failed = |source| Error::StateFile { path: path.clone(), source };
        tokio::fs::create_dir_all(dir).await.map_err(failed)?;
        let boot_id = tokio::fs::read_to_string(BOOT_ID).await.map_err(failed)?;
        Ok(Self { boot_id: boot_id.trim().to_owned(), path })
    }

    /// What the last agent left in this boot; nothing where that is unknown.
    pub(crate) async fn read(&self, node: &NodeId) -> Option<Left> {
        let text = tokio::fs::read(&self.path).await.ok()?;
        let left: Left = serde_json::from_slice(&text).ok()?;
        (left.boot_id == self.boot_id && left.node == *node).then_some(left)
    }

    pub(crate) async fn write(&self, node: &NodeId, lease: &Lease) -> Result<()> {
        let left = Left {
            node: node.clone(),
            boot_id: self.boot_id.clone(),
            epoch: lease.epoch,
            booted: lease.booted,
            // Rounded down: what is left is never more than what was won.
            end_boottime_ms: u64::try_from(lease.end.as_millis()).unwrap_or(u64::MAX),
        };
        let failed = |source| Error::StateFile { path: self.path.clone(), source };
        let text = serde_json::to_vec(&left).map_err(|error| failed(error.into()))?;
        let fresh = self.path.with_extension("new");
        tokio::fs::write(&fresh, text).await.map_err(failed)?;
        tokio::fs::rename(&fresh, &self.path).await.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_this_boot_and_this_node_count() {
        let dir = tempfile::tempdir().unwrap();
        let node: NodeId = "a".parse().unwrap();
        let file = StateFile::open(dir.path()).await.unwrap();
        assert_eq!(file.read(&node).await, None);
        let lease = Lease { epoch: Epoch(3), end: Duration::from_millis(1234), booted: Epoch(2) };
        file.write(&node, &lease).await.unwrap();
        let left = file.read(&node).await.unwrap();
        assert_eq!((left.epoch, left.booted, left.end()), (lease.epoch, lease.booted, lease.end));
        assert_eq!(file.read(&"b".parse().unwrap()).await, None);
        let other = StateFile { boot_id: "another".to_owned(), path: file.path.clone() };
        assert_eq!(other.read(&node).await, None);
        tokio::fs::write(&file.path, b"{").await.unwrap();
        assert_eq!(file.read(&node).await, None, "half a file is no file");
    }
}
