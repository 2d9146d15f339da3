//! Snapshots, page by page.

use stead_model::Result;
use stead_model::name::{SnapshotId, VolumeId};
use stead_model::record::{self, Phase, Snapshot};

use super::take::no_snapshot;
use crate::core::Core;
use crate::page::{self, Paged};

/// Which snapshots are wanted; what is not given does not restrict.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) id: Option<SnapshotId>,
    pub(crate) volume: Option<VolumeId>,
}

impl Core {
    /// The snapshots behind `after` that the filter lets through, `limit` at most (0 for all).
    pub(crate) async fn list_snapshots(
        &self,
        filter: &Filter,
        after: Option<&SnapshotId>,
        limit: usize,
    ) -> Result<Paged<Snapshot>> {
        if let Some(id) = &filter.id {
            let found = match self.get_snapshot(id).await {
                Ok(snapshot) => vec![snapshot],
                Err(error) if error.kind() == stead_model::Kind::NotFound => Vec::new(),
                Err(error) => return Err(error),
            };
            let of = |s: &Snapshot| filter.volume.as_ref().is_none_or(|volume| s.volume == *volume);
            return Ok(Paged { items: found.into_iter().filter(of).collect(), more: false });
        }
        let after = after.map(record::snapshot_key);
        let Some(volume) = &filter.volume else {
            return page::collect(limit, after, |page| self.registry.list::<Snapshot>(page)).await;
        };
        // Sorted by id, the snapshots of one volume lie anywhere: all are read, those in question
        // counted.
        let all = page::collect(0, after, |page| self.registry.list::<Snapshot>(page)).await?;
        let mut items: Vec<_> = all.items.into_iter().filter(|s| s.volume == *volume).collect();
        let more = limit > 0 && items.len() > limit;
        items.truncate(if limit == 0 { usize::MAX } else { limit });
        Ok(Paged { items, more })
    }

    /// One snapshot.
    pub(crate) async fn get_snapshot(&self, id: &SnapshotId) -> Result<Snapshot> {
        let snapshot = self.registry.get::<Snapshot>(&record::snapshot_key(id)).await?;
        snapshot
            .map(|stored| stored.decoded.record)
            .filter(|snapshot| snapshot.phase == Phase::Ready)
            .ok_or_else(|| no_snapshot(id))
    }
}

impl page::Listable for Snapshot {
    fn is_listed(&self) -> bool {
        self.phase == Phase::Ready
    }
}
