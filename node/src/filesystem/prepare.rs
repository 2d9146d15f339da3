//! From a device to a file system that can be mounted, without ever losing one.
//!
//! Two things have to agree before anything is formatted: the store says that this volume never held
//! data, and the device is proven blank. The store hears of the attempt before it begins and of the
//! success before the first mount, so a crash at any point leaves one of three clear cases.

use std::path::Path;

use stead_model::Error;
use stead_model::record::{Format, Volume, volume_key};
use stead_model::registry::Registry;

use super::probe::probe;
use super::{Content, Filesystem, FsKind, tools};
use crate::blocking::blocking;
use crate::error::{NodeError, Result};

/// Sees to it that the device holds the wanted file system (`None`: what there is, else ext4), in order.
pub async fn prepare(
    registry: &Registry,
    volume: &Volume,
    device: &Path,
    wanted: Option<FsKind>,
    readonly: bool,
) -> Result<FsKind> {
    let path = device.to_owned();
    let content = blocking(move || probe(&path)).await?;
    match decide(volume, &content, wanted)? {
        Step::Use(found) => {
            // Only a file system that is known to be whole is ever recorded: from here on none is made.
            if volume.format != Format::Done(found.kind.to_string()) {
                record(registry, volume, &volume.format, Format::Done(found.kind.to_string()))
                    .await?;
            }
            if !found.clean && !readonly {
                tracing::info!(device = %device.display(), "checking the file system");
                tools::check(found.kind, device).await?;
            }
            if found.kind == FsKind::Ext4 && !readonly && unused(device).await? >= EXT4_SLACK_BYTES {
                tracing::info!(device = %device.display(), "growing the file system");
                tools::grow_unmounted_ext4(device).await?;
            }
            Ok(found.kind)
        }
        Step::Make(_) if readonly => Err(Error::precondition(format!(
            "volume '{}' has no file system yet and is to be used read-only: publish it writable once",
            volume.id
        ))
        .into()),
        Step::Make(kind) => {
            let begun = Format::Begun(kind.to_string());
            record(registry, volume, &volume.format, begun.clone()).await?;
            tracing::info!(device = %device.display(), %kind, "making a file system");
            tools::mkfs(kind, device).await?;
            record(registry, volume, &begun, Format::Done(kind.to_string())).await?;
            Ok(kind)
        }
    }
}

/// Notes that a workload is to have the device itself: from then on nothing makes a file system on it.
pub async fn give_raw(registry: &Registry, volume: &Volume) -> Result<()> {
    match &volume.format {
        Format::Never | Format::Begun(_) => {
            record(registry, volume, &volume.format, Format::Raw).await
        }
        Format::Done(_) | Format::Raw => Ok(()),
    }
}

#[derive(Debug, PartialEq)]
enum Step {
    Use(Filesystem),
    Make(FsKind),
}

fn decide(volume: &Volume, content: &Content, wanted: Option<FsKind>) -> Result<Step> {
    let not_blank =
        || NodeError::NotBlank { volume: volume.id.clone(), found: content.to_string() };
    let lost = |expected: &str| NodeError::LostFilesystem {
        volume: volume.id.clone(),
        expected: expected.to_owned(),
        found: content.to_string(),
    };
    match (&volume.format, content) {
        (Format::Done(expected), Content::Filesystem(found)) if found.kind.name() != expected => {
            Err(lost(expected))
        }
        (Format::Done(_) | Format::Raw | Format::Never, Content::Filesystem(found)) => match wanted
        {
            Some(wanted) if wanted != found.kind => Err(NodeError::OtherFilesystem {
                volume: volume.id.clone(),
                found: found.kind.to_string(),
                wanted: wanted.to_string(),
            }),
            _ => Ok(Step::Use(found.clone())),
        },
        (Format::Done(expected), _) => Err(lost(expected)),
        (Format::Never, Content::Blank) => Ok(Step::Make(wanted.unwrap_or_default())),
        // Blank proves nothing here: what a workload wrote may lie where the probe does not look.
        (Format::Raw, Content::Blank) => Err(NodeError::UsedRaw { volume: volume.id.clone() }),
        (Format::Never | Format::Raw, _) => Err(not_blank()),
        // It was blank when that attempt began and was never mounted since: only a half-made file
        // system can be there, and making it again loses nothing. Anything else came from a stranger.
        (Format::Begun(_), Content::Foreign(_)) => Err(not_blank()),
        (Format::Begun(begun), Content::Filesystem(found)) if found.kind.name() != begun => {
            Err(not_blank())
        }
        (Format::Begun(_), _) => Ok(Step::Make(wanted.unwrap_or_default())),
    }
}

/// Sets the format of a volume if it still is what the decision was based on.
async fn record(registry: &Registry, volume: &Volume, was: &Format, is: Format) -> Result<()> {
    let key = volume_key(&volume.id);
    let change = registry.change::<Volume>(&key, |stored| {
        if stored.format != *was && stored.format != is {
            return Err(Error::conflict(format!(
                "the format of volume '{}' was changed by another node: repeat",
                volume.id
            )));
        }
        stored.format = is.clone();
        Ok(())
    });
    change.await?;
    Ok(())
}

/// Less than this ext4 may leave over for good: it drops a last group that would hold little but its own
/// tables (ext2fs_initialize(3)). To try again at each stage would cost a full check each time.
const EXT4_SLACK_BYTES: u64 = 4 << 20;

/// Less than this may be left over by a file system's own rounding.
const SLACK_BYTES: u64 = 1 << 20;

/// How many bytes of its device a file system does not use.
async fn unused(device: &Path) -> Result<u64> {
    let path = device.to_owned();
    blocking(move || {
        let Content::Filesystem(found) = probe(&path)? else { return Ok(0) };
        let file = std::fs::File::open(&path).map_err(NodeError::io("open", &path))?;
        let size = crate::device::size(&file).map_err(NodeError::kernel("measure", &path))?;
        Ok(size.saturating_sub(found.size))
    })
    .await
}

/// Makes a mounted file system as large as its device, if that is worth a program run.
pub async fn grow_if_smaller(kind: FsKind, device: &Path, mounted_at: &Path) -> Result<()> {
    if unused(device).await? < SLACK_BYTES {
        return Ok(());
    }
    tools::grow(kind, device, mounted_at).await
}
