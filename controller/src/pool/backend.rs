//! The pool as the port's back end: ids checked, locks taken, blocking work sent where it may block.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use stead_model::Result;
use stead_model::clock::{BootClock, Clock};
use stead_model::image::Layout;
use stead_model::name::{Bytes, NodeId, SnapshotId, Term, VolumeId};
use stead_model::port::{
    AdjustBackend, Attach, Attachment, BackendVolume, Capacity, FenceStrength, Progress,
    SnapshotBackend, SnapshotRequest, TakenSnapshot, VolumeBackend, VolumeRequest,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::copy::Job;
use super::error::PoolError;
use super::files::{self, Mode, blocking};
use super::{Pool, claim, parameters, snapshot, volume};

/// A job that is given up when whoever waits for it goes away.
fn job(progress: &Progress) -> (Job, DropGuard) {
    let cancel = CancellationToken::new();
    let guard = cancel.clone().drop_guard();
    (Job { progress: progress.clone(), cancel }, guard)
}

/// What a call on an absent volume comes to, where absent is success.
fn unless_absent(result: super::Result<()>) -> Result<()> {
    match result {
        Err(PoolError::Absent { .. }) => Ok(()),
        result => Ok(result?),
    }
}

#[async_trait]
impl VolumeBackend for Pool {
    async fn create(&self, request: &VolumeRequest, progress: &Progress) -> Result<Bytes> {
        if !volume::is_plain(request.id.as_str()) {
            return Err(PoolError::BadId(request.id.to_string()).into());
        }
        parameters::check(&request.parameters)?;
        let size = volume::real_size(request.size)?;
        let source = match request.source.clone() {
            // A repeat succeeds even where the source is gone by now.
            Some(source) if self.size(&request.id).await?.is_none() => {
                Some(self.filling(source).await?)
            }
            _ => None,
        };
        let plan = volume::Plan {
            id: request.id.clone(),
            size,
            source,
            parameters: request.parameters.clone(),
        };
        let (job, _guard) = job(progress);
        let layout = self.layout.clone();
        Ok(blocking(move || volume::create(&layout, plan, &job)).await?)
    }

    async fn delete(&self, id: &VolumeId) -> Result<()> {
        let volume = id.clone();
        let deleted = self.locked(id, move |layout| {
            claim::require_none(layout, &volume)?;
            files::remove_dir(&layout.volume(&volume))
        });
        unless_absent(deleted.await)
    }

    async fn attach(&self, request: &Attach) -> Result<Attachment> {
        let attach = request.clone();
        Ok(self.locked(&request.volume, move |layout| claim::attach(layout, &attach)).await?)
    }

    async fn detach(&self, id: &VolumeId, node: &NodeId) -> Result<()> {
        let (volume, node) = (id.clone(), node.clone());
        let detached = self.locked(id, move |layout| claim::detach(layout, &volume, &node));
        unless_absent(detached.await)
    }

    async fn fence(&self, id: &VolumeId, term: Term) -> Result<FenceStrength> {
        let volume = id.clone();
        self.locked(id, move |layout| claim::fence(layout, &volume, term)).await?;
        // A node that has the image open can go on writing: only its own agent stops it.
        Ok(FenceStrength::Cooperative)
    }

    async fn list(&self, after: Option<&VolumeId>, limit: usize) -> Result<Vec<BackendVolume>> {
        let (layout, after) = (self.layout.clone(), after.cloned());
        Ok(blocking(move || volume::list(&layout, after.as_ref(), limit)).await?)
    }

    async fn capacity(&self) -> Result<Capacity> {
        let layout = self.layout.clone();
        Ok(blocking(move || Ok(volume::capacity(layout.root())?.0)).await?)
    }

    fn topology(&self) -> BTreeMap<String, String> {
        self.mark.topology()
    }
}

impl Pool {
    /// Runs `work` while no group is being decided by anybody else.
    pub(crate) async fn deciding<T: Send + 'static>(
        &self,
        mode: Mode,
        work: impl FnOnce(&Layout) -> super::Result<T> + Send + 'static,
    ) -> super::Result<T> {
        let path = snapshot::lock(&self.layout);
        let lock = files::lock(path, mode, "pool", &self.mark.id).await?;
        let layout = self.layout.clone();
        blocking(move || {
            let _lock = lock; // Until the work is done, even if its caller has gone.
            work(&layout)
        })
        .await
    }

    async fn size(&self, id: &VolumeId) -> super::Result<Option<Bytes>> {
        let (layout, id) = (self.layout.clone(), id.clone());
        blocking(move || volume::size(&layout, &id)).await
    }
}

#[async_trait]
impl AdjustBackend for Pool {
    fn check(&self, parameters: &BTreeMap<String, String>) -> Result<()> {
        Ok(parameters::check(parameters)?)
    }

    async fn expand(&self, id: &VolumeId, size: Bytes) -> Result<Bytes> {
        let (volume, size) = (id.clone(), volume::real_size(size)?);
        Ok(self.locked(id, move |layout| volume::expand(layout, &volume, size)).await?)
    }

    async fn modify(&self, id: &VolumeId, parameters: &BTreeMap<String, String>) -> Result<()> {
        parameters::check_change(parameters)?;
        let (volume, changes) = (id.clone(), parameters.clone());
        Ok(self.locked(id, move |layout| volume::modify(layout, &volume, &changes)).await?)
    }
}

#[async_trait]
impl SnapshotBackend for Pool {
    async fn snapshot(
        &self,
        requests: &[SnapshotRequest],
        progress: &Progress,
    ) -> Result<Vec<TakenSnapshot>> {
        let requests = requests.to_vec();
        if let Some(bad) = requests.iter().find(|one| !volume::is_plain(one.id.as_str())) {
            return Err(PoolError::BadId(bad.id.to_string()).into());
        }
        let wanted = requests.clone();
        let existing = self.deciding(Mode::Exclusive, move |layout| {
            snapshot::complete(layout)?;
            snapshot::existing(layout, &wanted)
        });
        if let Some(taken) = existing.await? {
            return Ok(taken);
        }
        let mut locks = Vec::new();
        // In one order, so that two groups never wait for each other.
        let volumes: BTreeSet<_> = requests.iter().map(|one| &one.volume).collect();
        for volume in volumes {
            locks.push(self.lock(volume, Mode::Shared).await?);
        }
        let (job, _guard) = job(progress);
        let (layout, shared, now) = (self.layout.clone(), self.mark.shared, BootClock.wall());
        let stage = move || {
            let _locks = locks;
            let staged = snapshot::stage(&layout, &requests, shared, now, &job)?;
            Ok((staged, requests))
        };
        let (staged, requests) = blocking(stage).await?;
        let decide = move |layout: &Layout| snapshot::decide(layout, &requests, staged);
        Ok(self.deciding(Mode::Exclusive, decide).await?)
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<()> {
        if !volume::is_plain(id.as_str()) {
            return Ok(());
        }
        let dir = self.layout.snapshot(id);
        Ok(blocking(move || files::remove_dir(&dir)).await?)
    }

    async fn snapshots(&self) -> Result<Vec<TakenSnapshot>> {
        Ok(self.deciding(Mode::Shared, snapshot::list).await?)
    }
}
