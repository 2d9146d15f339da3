//! Snapshots: images that are never written again, taken together or not at all.
//!
//! A group is filled below one draft. The rename of that draft to `.group-...` decides that all of it
//! exists; moving each snapshot to its name after that is only carried out, by this call or, after a
//! crash, by the next one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use stead_model::image::Layout;
use stead_model::name::{Bytes, SnapshotId, VolumeId};
use stead_model::port::{SnapshotRequest, TakenSnapshot};

use super::copy::{self, Job};
use super::error::{At, PoolError, Result};
use super::files::{self, Draft};
use super::{claim, volume};

/// How the directory of a decided group is named.
const GROUP: &str = ".group-";
/// The version of `snapshot.json` that this program writes.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    volume: VolumeId,
    size: Bytes,
    taken_at: SystemTime,
}

/// The image of a snapshot.
pub(crate) fn image(layout: &Layout, id: &SnapshotId) -> PathBuf {
    layout.snapshot(id).join("image")
}

fn record(layout: &Layout, id: &SnapshotId) -> Result<Option<Record>> {
    files::read(&layout.snapshot(id).join("snapshot.json"))
}

/// The snapshots that exist already: all that were asked for, or nothing where none does.
pub(crate) fn existing(
    layout: &Layout,
    requests: &[SnapshotRequest],
) -> Result<Option<Vec<TakenSnapshot>>> {
    let (mut taken, mut missing) = (Vec::new(), None);
    for request in requests {
        match record(layout, &request.id)? {
            Some(record) if record.volume != request.volume => {
                return Err(PoolError::Differs {
                    what: "snapshot",
                    id: request.id.to_string(),
                    how: format!("it is of volume '{}'", record.volume),
                });
            }
            Some(record) => taken.push(told(request.id.clone(), &record)),
            None => missing = Some(request.id.to_string()),
        }
    }
    match (taken.first(), missing) {
        (Some(first), Some(missing)) => {
            Err(PoolError::PartOfGroup { taken: first.id.to_string(), missing })
        }
        (None, Some(_)) => Ok(None),
        (_, None) => Ok(Some(taken)),
    }
}

fn told(id: SnapshotId, record: &Record) -> TakenSnapshot {
    TakenSnapshot { id, size: record.size, taken_at: record.taken_at }
}

/// Snapshots that are filled and not decided yet: dropped, they never were.
pub(crate) struct Staged {
    draft: Draft,
    taken: Vec<TakenSnapshot>,
}

/// The file whose lock orders decisions, so that nobody sees a part of a group.
pub(crate) fn lock(layout: &Layout) -> PathBuf {
    layout.root().join(".snapshots-lock")
}

/// Fills the snapshots. The caller has a shared lock on every volume.
pub(crate) fn stage(
    layout: &Layout,
    requests: &[SnapshotRequest],
    shared: bool,
    taken_at: SystemTime,
    job: &Job,
) -> Result<Staged> {
    let draft = Draft::new(&layout.snapshots())?;
    let mut taken = Vec::new();
    for request in requests {
        volume::require(layout, &request.volume)?;
        let otherwise = claim::cut(layout, &request.volume, shared)?;
        if let Some(PoolError::NoCut { id, node }) = &otherwise
            && requests.len() > 1
        {
            return Err(PoolError::NoGroupCut { id: id.clone(), node: node.clone() });
        }
        let dir = draft.path().join(request.id.as_str());
        files::create_dirs(&dir)?;
        let size = fill(&layout.image(&request.volume), &dir.join("image"), otherwise, job)?;
        let record = Record { version: VERSION, volume: request.volume.clone(), size, taken_at };
        files::write_new(&dir.join("snapshot.json"), &record)?;
        files::sync_dir(&dir)?;
        taken.push(told(request.id.clone(), &record));
    }
    if job.cancel.is_cancelled() {
        return Err(PoolError::Cancelled);
    }
    Ok(Staged { draft, taken })
}

/// Decides that the snapshots exist, unless another call was faster. The caller has the [`lock`].
pub(crate) fn decide(
    layout: &Layout,
    requests: &[SnapshotRequest],
    staged: Staged,
) -> Result<Vec<TakenSnapshot>> {
    complete(layout)?;
    if let Some(taken) = existing(layout, requests)? {
        return Ok(taken);
    }
    let decided = format!("{GROUP}{}", uuid::Uuid::new_v4().simple());
    staged.draft.keep(&layout.snapshots().join(decided))?;
    complete(layout)?;
    Ok(staged.taken)
}

fn fill(from: &Path, to: &Path, otherwise: Option<PoolError>, job: &Job) -> Result<Bytes> {
    let source = File::open(from).at("open", from)?;
    let target = files::create_file(to)?;
    copy::fill(&source, &target, to, otherwise, job)?;
    target.sync_all().at("flush", to)?;
    Ok(Bytes(target.metadata().at("read", to)?.len()))
}

/// Gives the snapshots of every decided group their names. The caller has the [`lock`].
pub(crate) fn complete(layout: &Layout) -> Result<()> {
    let all = layout.snapshots();
    for entry in fs::read_dir(&all).at("read", &all)? {
        let group = entry.at("read", &all)?.path();
        let name = group.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(GROUP) {
            continue;
        }
        for name in files::names(&group)?.iter().filter(|name| *name != files::LOCK) {
            let (from, to) = (group.join(name), all.join(name));
            match fs::rename(&from, &to) {
                Ok(()) => {}
                // It was there first; this copy goes with its group.
                Err(error) if files::is_taken(&error) => {}
                Err(error) => return Err(PoolError::io("create", &to, error)),
            }
        }
        files::sync_dir(&all)?;
        files::remove_dir(&group)?;
    }
    Ok(())
}

/// The snapshots that exist, in order.
pub(crate) fn list(layout: &Layout) -> Result<Vec<TakenSnapshot>> {
    let mut snapshots = Vec::new();
    for name in files::names(&layout.snapshots())? {
        let Ok(id) = name.parse::<SnapshotId>() else { continue };
        if let Some(record) = record(layout, &id)? {
            snapshots.push(told(id, &record));
        }
    }
    Ok(snapshots)
}
