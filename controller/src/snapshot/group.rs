//! Group snapshots: several volumes at one point in time, or none of them.

use std::collections::{BTreeMap, BTreeSet};

use stead_model::name::{GroupSnapshotId, SnapshotId, VolumeId};
use stead_model::port::SnapshotRequest;
use stead_model::record::{self, GroupSnapshot, NameIndex, Phase, Record, Snapshot};
use stead_model::registry::Stored;
use stead_model::{Error, Kind, Result};

use crate::core::Core;
use crate::progress::told;

/// A group snapshot and its snapshots.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) id: GroupSnapshotId,
    pub(crate) snapshots: Vec<Snapshot>,
}

impl Core {
    /// Takes the group snapshot, or completes or returns the one of that name.
    pub(crate) async fn create_group(
        &self,
        name: String,
        volumes: BTreeSet<VolumeId>,
    ) -> Result<Group> {
        let key = record::name_key(GroupSnapshot::KIND, &name);
        if let Some(index) = self.registry.get::<NameIndex>(&key).await? {
            let known = record::group_key(&index.id.parse()?);
            if let Some(known) = self.registry.get::<GroupSnapshot>(&known).await? {
                check_same(&known, &volumes)?;
                match known.phase {
                    Phase::Ready => return self.group(&known).await,
                    Phase::Creating => {}
                    // Nobody was told its id, so nobody else can end what a crash cut off.
                    Phase::Deleting => self.drop_group(&known).await?,
                }
            }
        }
        let mut sources = BTreeMap::new();
        for volume in volumes {
            sources.insert(
                volume.clone(),
                (self.ready_volume(&volume).await?.size, self.format_of(&volume).await?),
            );
        }
        let fresh = GroupSnapshotId::fresh().to_string();
        let index = NameIndex { of: GroupSnapshot::KIND.to_owned(), name, id: fresh };
        let index = self.registry.get_or_create(index).await?;
        let group = GroupSnapshot {
            id: index.id.parse()?,
            name: index.name.clone(),
            phase: Phase::Creating,
            snapshots: sources.keys().map(|v| (SnapshotId::fresh(), v.clone())).collect(),
        };
        // A repeat after a crash goes on with the handles that were chosen first.
        let group = self.registry.get_or_create(group).await?;
        for (id, volume) in &group.snapshots {
            let (size, format) = sources.remove(volume).unwrap_or_default();
            let snapshot = Snapshot {
                id: id.clone(),
                name: format!("{}/{volume}", group.id),
                phase: Phase::Creating,
                volume: volume.clone(),
                size,
                taken_at: None,
                group: Some(group.id.clone()),
                format,
            };
            self.registry.get_or_create(snapshot).await?;
        }
        match self.take_group(&group).await {
            Ok(()) => self.group(&group).await,
            Err(error) => {
                self.drop_group(&group).await?;
                Err(error)
            }
        }
    }

    async fn take_group(&self, group: &Stored<GroupSnapshot>) -> Result<()> {
        let requests: Vec<_> = group
            .snapshots
            .iter()
            .map(|(id, volume)| SnapshotRequest { id: id.clone(), volume: volume.clone() })
            .collect();
        let requests = &requests;
        for taken in
            told(|progress| async move { self.volumes.snapshot(requests, &progress).await }).await?
        {
            let key = record::snapshot_key(&taken.id);
            let ready = self.registry.change::<Snapshot>(&key, |s| {
                s.phase = Phase::Ready;
                s.size = taken.size;
                s.taken_at = Some(taken.taken_at);
                Ok(())
            });
            ready.await?;
        }
        let key = group.key();
        let ready = self.registry.change::<GroupSnapshot>(&key, |group| {
            group.phase = Phase::Ready;
            Ok(())
        });
        ready.await.map(drop)
    }

    /// Deletes the group and its snapshots; an unknown one is success. `named` must be its snapshots,
    /// where they are given.
    pub(crate) async fn delete_group(
        &self,
        id: &GroupSnapshotId,
        named: &BTreeSet<SnapshotId>,
    ) -> Result<()> {
        let group = self.registry.get::<GroupSnapshot>(&record::group_key(id)).await?;
        let Some(group) = group else { return Ok(()) };
        check_named(&group, named)?;
        self.drop_group(&group).await
    }

    /// The group; `named` must be its snapshots, where they are given.
    pub(crate) async fn get_group(
        &self,
        id: &GroupSnapshotId,
        named: &BTreeSet<SnapshotId>,
    ) -> Result<Group> {
        let group = self.registry.get::<GroupSnapshot>(&record::group_key(id)).await?;
        let group = group
            .filter(|group| group.phase == Phase::Ready)
            .ok_or_else(|| Error::not_found(format!("there is no group snapshot '{id}'")))?;
        check_named(&group, named)?;
        self.group(&group).await
    }

    async fn drop_group(&self, group: &Stored<GroupSnapshot>) -> Result<()> {
        let key = group.key();
        let deleting = self.registry.change::<GroupSnapshot>(&key, |group| {
            group.phase = Phase::Deleting;
            Ok(())
        });
        let group = deleting.await?;
        for id in group.snapshots.keys() {
            let key = record::snapshot_key(id);
            if let Some(snapshot) = self.registry.get::<Snapshot>(&key).await? {
                self.drop_snapshot(&snapshot).await?;
            }
        }
        let name = record::name_key(GroupSnapshot::KIND, &group.name);
        let mine = |index: &NameIndex| Ok(index.id == group.id.as_str());
        self.registry.remove_if(&name, mine).await?;
        self.registry.remove_key(&group.key()).await
    }

    async fn group(&self, group: &GroupSnapshot) -> Result<Group> {
        let mut snapshots = Vec::new();
        for id in group.snapshots.keys() {
            snapshots.push(self.get_snapshot(id).await?);
        }
        Ok(Group { id: group.id.clone(), snapshots })
    }
}

fn check_same(group: &GroupSnapshot, volumes: &BTreeSet<VolumeId>) -> Result<()> {
    let of: BTreeSet<_> = group.snapshots.values().cloned().collect();
    if of == *volumes {
        return Ok(());
    }
    Err(Error::new(
        Kind::AlreadyExists,
        format!("group snapshot '{}' exists, of other volumes: use another name", group.name),
    ))
}

fn check_named(group: &GroupSnapshot, named: &BTreeSet<SnapshotId>) -> Result<()> {
    let of: BTreeSet<_> = group.snapshots.keys().cloned().collect();
    if named.is_empty() || of == *named {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "snapshot_ids are not those of group snapshot '{}', which has {} snapshots",
        group.id,
        of.len()
    )))
}
