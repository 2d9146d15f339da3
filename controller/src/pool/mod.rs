//! The pool: volumes as sparse image files in one directory, attached through loop devices.
//!
//! The directory is on one node or shared between all (see [`PoolConfig::shared`]). Images are thin
//! unless a volume asks for `provisioning: thick`, so volumes may together promise more than there is.

mod backend;
mod claim;
mod copy;
mod error;
mod files;
mod mark;
mod parameters;
mod snapshot;
mod volume;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use stead_model::image::Layout;
use stead_model::name::VolumeId;
use stead_model::port::Source;

pub use error::PoolError;
pub use mark::{Mark, PoolConfig, TOPOLOGY_NODE, TOPOLOGY_POOL};
pub use parameters::{DIRECT_IO, PROVISIONING};

use error::Result;
use files::{Locked, Mode, blocking};
use volume::Filling;

/// A pool of image files.
#[derive(Debug, Clone)]
pub struct Pool {
    layout: Arc<Layout>,
    mark: Arc<Mark>,
}

impl Pool {
    /// Opens the pool in this directory. One that is missing or empty becomes a pool, unless this
    /// host remembers that it held one: then the share is not mounted. One with other files, of
    /// another node or that cannot be written is refused.
    pub async fn open(
        root: impl Into<PathBuf>,
        config: PoolConfig,
    ) -> std::result::Result<Self, PoolError> {
        let layout = Arc::new(Layout::new(root));
        let opened = layout.clone();
        let mark = blocking(move || {
            let mark = mark::open(&opened, &config)?;
            for dir in [opened.volumes(), opened.snapshots()] {
                files::create_dirs(&dir)?;
                files::sweep(&dir)?;
            }
            files::ensure(&snapshot::lock(&opened))?;
            drop(files::Draft::new(&opened.volumes())?); // It can be written.
            Ok(mark)
        })
        .await?;
        let pool = Self { layout, mark: Arc::new(mark) };
        pool.deciding(Mode::Exclusive, snapshot::complete).await?;
        Ok(pool)
    }

    /// What the directory says about itself.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// The paths of the pool on this host.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The lock of a volume; [`PoolError::Absent`] where there is no such volume.
    async fn lock(&self, id: &VolumeId, mode: Mode) -> Result<Locked> {
        if !volume::is_plain(id.as_str()) {
            return Err(PoolError::Absent { what: "volume", id: id.to_string() });
        }
        files::lock(self.layout.lock(id), mode, "volume", id.as_str()).await
    }

    /// Runs `work` under the exclusive lock of a volume.
    async fn locked<T: Send + 'static>(
        &self,
        id: &VolumeId,
        work: impl FnOnce(&Layout) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let lock = self.lock(id, Mode::Exclusive).await?;
        let layout = self.layout.clone();
        blocking(move || {
            let _lock = lock; // Until the work is done, even if its caller has gone.
            work(&layout)
        })
        .await
    }

    /// Opens what a new volume is filled with.
    async fn filling(&self, source: Source) -> Result<Filling> {
        let (what, id, path, lock) = match &source {
            Source::Snapshot(id) => {
                ("snapshot", id.to_string(), snapshot::image(&self.layout, id), None)
            }
            Source::Volume(id) => {
                let lock = self.lock(id, Mode::Shared).await?;
                ("volume", id.to_string(), self.layout.image(id), Some(lock))
            }
        };
        if !volume::is_plain(&id) {
            return Err(PoolError::Absent { what, id });
        }
        let (layout, shared) = (self.layout.clone(), self.mark.shared);
        blocking(move || {
            let image = File::open(&path).map_err(|error| match volume::is_absent(&error) {
                true => PoolError::Absent { what, id },
                false => PoolError::io("open", &path, error),
            })?;
            let otherwise = match &source {
                Source::Volume(id) => claim::cut(&layout, id, shared)?,
                Source::Snapshot(_) => None,
            };
            Ok(Filling { image, otherwise, _lock: lock })
        })
        .await
    }
}
