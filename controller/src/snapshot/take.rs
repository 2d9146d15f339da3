//! Taking and deleting a snapshot.

use stead_model::name::{SnapshotId, VolumeId};
use stead_model::port::SnapshotRequest;
use stead_model::record::{self, Format, NameIndex, Phase, Record, Snapshot};
use stead_model::registry::Stored;
use stead_model::{Error, Kind, Result};

use crate::core::Core;
use crate::progress::told;

impl Core {
    /// Takes the snapshot, or completes or returns the one of that name.
    pub(crate) async fn create_snapshot(&self, name: String, volume: VolumeId) -> Result<Snapshot> {
        let index =
            self.registry.get::<NameIndex>(&record::name_key(Snapshot::KIND, &name)).await?;
        if let Some(index) = &index {
            let known = record::snapshot_key(&index.id.parse()?);
            if let Some(known) = self.registry.get::<Snapshot>(&known).await? {
                check_same(&known, &volume)?;
                if known.phase == Phase::Ready {
                    return Ok(known.decoded.record);
                }
            }
        }
        let source = self.ready_volume(&volume).await?;
        let id = SnapshotId::fresh();
        let fresh = NameIndex { of: Snapshot::KIND.to_owned(), name, id: id.to_string() };
        let index = self.registry.get_or_create(fresh).await?;
        let snapshot = Snapshot {
            id: index.id.parse()?,
            name: index.name.clone(),
            phase: Phase::Creating,
            volume,
            size: source.size,
            taken_at: None,
            group: None,
            format: inherited(&source.format),
        };
        let snapshot = self.registry.get_or_create(snapshot).await?;
        let requests = &[SnapshotRequest { id: snapshot.id.clone(), volume: source.id.clone() }];
        let taken =
            match told(|progress| async move { self.volumes.snapshot(requests, &progress).await })
                .await
            {
                Ok(taken) => taken,
                Err(error) => {
                    self.forget_snapshot(&snapshot).await?;
                    return Err(error);
                }
            };
        let taken = taken.first().ok_or_else(|| no_snapshot(&snapshot.id))?.clone();
        let key = snapshot.key();
        let ready = self.registry.change::<Snapshot>(&key, |snapshot| {
            snapshot.phase = Phase::Ready;
            snapshot.size = taken.size;
            snapshot.taken_at = Some(taken.taken_at);
            Ok(())
        });
        Ok(ready.await?.decoded.record)
    }

    /// Deletes the snapshot; an unknown one is success, one of a group goes with its group only.
    pub(crate) async fn delete_snapshot(&self, id: &SnapshotId) -> Result<()> {
        let key = record::snapshot_key(id);
        let Some(snapshot) = self.registry.get::<Snapshot>(&key).await? else { return Ok(()) };
        if let Some(group) = &snapshot.group {
            return Err(Error::precondition(format!(
                "snapshot '{id}' belongs to group snapshot '{group}': delete the group"
            )));
        }
        self.drop_snapshot(&snapshot).await
    }

    /// Deletes a snapshot and all that names it.
    pub(super) async fn drop_snapshot(&self, snapshot: &Stored<Snapshot>) -> Result<()> {
        let key = snapshot.key();
        let deleting = self.registry.change::<Snapshot>(&key, |snapshot| {
            snapshot.phase = Phase::Deleting;
            Ok(())
        });
        let snapshot = deleting.await?;
        self.volumes.delete_snapshot(&snapshot.id).await?;
        self.forget_snapshot(&snapshot).await
    }

    async fn forget_snapshot(&self, snapshot: &Snapshot) -> Result<()> {
        let name = record::name_key(Snapshot::KIND, &snapshot.name);
        let mine = |index: &NameIndex| Ok(index.id == snapshot.id.as_str());
        self.registry.remove_if(&name, mine).await?;
        self.registry.remove_key(&snapshot.key()).await
    }

    /// The format of a volume as a snapshot of it inherits it.
    pub(super) async fn format_of(&self, volume: &VolumeId) -> Result<Format> {
        Ok(inherited(&self.ready_volume(volume).await?.format))
    }
}

/// The format of a copy, whose content may be of a later time than the record that was read.
///
/// A file system that was being made then may be whole by now and have data in it. So a copy never
/// inherits the leave to make it again: what it has is used as it is, or refused.
pub(crate) fn inherited(format: &Format) -> Format {
    match format {
        Format::Begun(_) => Format::Never,
        format => format.clone(),
    }
}

pub(super) fn no_snapshot(id: &SnapshotId) -> Error {
    Error::not_found(format!("there is no snapshot '{id}'"))
}

fn check_same(snapshot: &Snapshot, volume: &VolumeId) -> Result<()> {
    if snapshot.phase == Phase::Deleting {
        return Err(Error::busy(format!("snapshot '{}' is being deleted", snapshot.name)));
    }
    if snapshot.volume != *volume {
        return Err(Error::new(
            Kind::AlreadyExists,
            format!(
                "snapshot '{}' exists, of volume '{}': use another name",
                snapshot.name, snapshot.volume
            ),
        ));
    }
    Ok(())
}
