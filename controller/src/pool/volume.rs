//! Images: made, grown, removed and listed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use stead_model::image::{Claim, Layout};
use stead_model::name::{Bytes, VolumeId};
use stead_model::port::{BackendVolume, Capacity};

use super::copy::{self, Job};
use super::error::{At, PoolError, Result};
use super::files::{self, Draft, Locked};
use super::parameters::{self, Parameters};

/// What every size is a multiple of: the block of a loop device with direct I/O.
const BLOCK_BYTES: u64 = 4096;

/// The smallest image.
pub(crate) const VOLUME_MIN: Bytes = Bytes::MIB;

/// Where the parameters of a volume stand.
pub(crate) fn parameters(layout: &Layout, id: &VolumeId) -> PathBuf {
    layout.volume(id).join("parameters.json")
}

/// Whether the id is one that a file can have. Others were never made here.
pub(crate) fn is_plain(id: &str) -> bool {
    !id.starts_with('.') && !id.contains('/')
}

/// The size that a request gets: exact where it is a multiple of a block and not too small.
pub(crate) fn real_size(asked: Bytes) -> Result<Bytes> {
    let too_large = || PoolError::BeyondPool { asked, total: Bytes(i64::MAX as u64) };
    let rounded = asked.0.max(VOLUME_MIN.0).checked_next_multiple_of(BLOCK_BYTES);
    rounded.filter(|size| i64::try_from(*size).is_ok()).map(Bytes).ok_or_else(too_large)
}

/// The room below `root`, and the size of the whole file system.
pub(crate) fn capacity(root: &Path) -> Result<(Capacity, Bytes)> {
    let stat = rustix::fs::statvfs(root).at("measure", root)?;
    let available = stat.f_bavail.saturating_mul(stat.f_frsize);
    let available = Bytes(available - available % BLOCK_BYTES);
    let total = Bytes(stat.f_blocks.saturating_mul(stat.f_frsize));
    Ok((Capacity { available, volume_max: available, volume_min: VOLUME_MIN }, total))
}

/// Refuses a size that cannot ever fit, or growth that does not fit now.
pub(crate) fn require_room(root: &Path, size: Bytes, growth: Bytes) -> Result<()> {
    let (capacity, total) = capacity(root)?;
    if size > total {
        return Err(PoolError::BeyondPool { asked: size, total });
    }
    if growth > capacity.available {
        return Err(PoolError::Full {
            root: root.to_owned(),
            asked: growth,
            available: capacity.available,
        });
    }
    Ok(())
}

/// The size of a volume; nothing where it is absent.
pub(crate) fn size(layout: &Layout, id: &VolumeId) -> Result<Option<Bytes>> {
    let path = layout.image(id);
    match fs::metadata(&path) {
        Ok(metadata) => Ok(Some(Bytes(metadata.len()))),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(PoolError::io("read", &path, error)),
    }
}

/// The size of a volume that has to be there.
pub(crate) fn require(layout: &Layout, id: &VolumeId) -> Result<Bytes> {
    let absent = || PoolError::Absent { what: "volume", id: id.to_string() };
    size(layout, id)?.ok_or_else(absent)
}

/// The content of a new image.
pub(crate) struct Filling {
    /// The image, open for reading.
    pub(crate) image: File,
    /// The error where a copy in one step is needed and the file system has none.
    pub(crate) otherwise: Option<PoolError>,
    /// What keeps it as it is meanwhile.
    pub(crate) _lock: Option<Locked>,
}

/// An image to make.
pub(crate) struct Plan {
    /// The volume.
    pub(crate) id: VolumeId,
    /// Its real size.
    pub(crate) size: Bytes,
    /// What it is filled with.
    pub(crate) source: Option<Filling>,
    /// Its parameters, checked.
    pub(crate) parameters: Parameters,
}

/// Makes a volume, whole or not at all.
pub(crate) fn create(layout: &Layout, mut plan: Plan, job: &Job) -> Result<Bytes> {
    if let Some(size) = size(layout, &plan.id)? {
        return same_size(&plan, size);
    }
    if let Some(source) = &plan.source {
        let source_size = Bytes(source.image.metadata().at("read", layout.root())?.len());
        if plan.size < source_size {
            return Err(PoolError::BelowSource { asked: plan.size, source_size });
        }
    }
    require_room(layout.root(), plan.size, plan.size)?;
    let draft = Draft::new(&layout.volumes())?;
    let path = draft.path().join("image");
    let image = files::create_file(&path)?;
    if let Some(source) = plan.source.take() {
        copy::fill(&source.image, &image, &path, source.otherwise, job)?;
    }
    resize(&image, &path, plan.size, &plan.parameters)?;
    image.sync_all().at("flush", &path)?;
    files::write_new(&draft.path().join("claim.json"), &Claim::default())?;
    files::write_new(&draft.path().join("parameters.json"), &plan.parameters)?;
    if job.cancel.is_cancelled() {
        return Err(PoolError::Cancelled);
    }
    if draft.keep(&layout.volume(&plan.id))? {
        return Ok(plan.size);
    }
    same_size(&plan, require(layout, &plan.id)?)
}

fn same_size(plan: &Plan, size: Bytes) -> Result<Bytes> {
    if size == plan.size {
        return Ok(size);
    }
    Err(PoolError::Differs {
        what: "volume",
        id: plan.id.to_string(),
        how: format!("it has {size} bytes, {} were asked for", plan.size),
    })
}

/// Grows a volume. The caller has the lock.
pub(crate) fn expand(layout: &Layout, id: &VolumeId, to: Bytes) -> Result<Bytes> {
    let now = require(layout, id)?;
    if to <= now {
        return Ok(now);
    }
    require_room(layout.root(), to, Bytes(to.0 - now.0))?;
    let path = layout.image(id);
    let image = File::options().read(true).write(true).open(&path).at("open", &path)?;
    let parameters: Parameters = files::read(&self::parameters(layout, id))?.unwrap_or_default();
    if let Err(error) = resize(&image, &path, to, &parameters) {
        // No device has been told of the larger size yet, so nothing was written behind the old end.
        image.set_len(now.0).at("size", &path)?;
        return Err(error);
    }
    image.sync_all().at("flush", &path)?;
    Ok(to)
}

fn resize(image: &File, path: &Path, size: Bytes, parameters: &Parameters) -> Result<()> {
    image.set_len(size.0).at("size", path)?;
    if parameters::value(parameters, parameters::PROVISIONING)? == "thick" {
        rustix::fs::fallocate(image, FallocateFlags::empty(), 0, size.0).at("reserve", path)?;
    }
    Ok(())
}

/// Changes parameters of a volume, all or none. The caller has the lock.
pub(crate) fn modify(layout: &Layout, id: &VolumeId, changes: &Parameters) -> Result<()> {
    let path = parameters(layout, id);
    let before: Parameters = files::read(&path)?.unwrap_or_default();
    let mut after = before.clone();
    after.extend(changes.iter().map(|(key, value)| (key.clone(), value.clone())));
    if after == before {
        return Ok(());
    }
    files::replace(&path, &after)
}

/// The volumes behind `after`, in order.
pub(crate) fn list(
    layout: &Layout,
    after: Option<&VolumeId>,
    limit: usize,
) -> Result<Vec<BackendVolume>> {
    let mut volumes = Vec::new();
    for name in files::names(&layout.volumes())? {
        if volumes.len() >= limit {
            break;
        }
        let Ok(id) = name.parse::<VolumeId>() else { continue };
        if after.is_some_and(|after| id <= *after) {
            continue;
        }
        // One that is deleted meanwhile is not there any more.
        let Some(size) = size(layout, &id)? else { continue };
        let claim = super::claim::read(layout, &id)?;
        let attached = claim.node.map(|node| (node, claim.term));
        volumes.push(BackendVolume { id, size, attached });
    }
    Ok(volumes)
}

/// Whether a path does not exist, or cannot for its name.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename)
}
