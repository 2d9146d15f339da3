//! Copies of images: in one step where the file system shares blocks, sparse otherwise.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use stead_model::name::Bytes;
use stead_model::port::Progress;
use tokio_util::sync::CancellationToken;

use super::error::{At, PoolError, Result};

/// What is copied between two looks at the cancellation.
const CHUNK_BYTES: u64 = 4 << 20;

/// A copy under way: who asked, and who wants to know how far it is.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// How far it is.
    pub(crate) progress: Progress,
    /// Whether anybody still wants it.
    pub(crate) cancel: CancellationToken,
}

/// Shares the blocks of `source` with the empty file `target`; false where the file system cannot.
fn reflink(source: &File, target: &File, path: &Path) -> Result<bool> {
    source.sync_data().at("flush the source of", path)?;
    match rustix::fs::ioctl_ficlone(target, source) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {
            Ok(false)
        }
        Err(error) => Err(PoolError::io("copy to", path, error.into())),
    }
}

/// Fills the empty file `target`, named by `path` in errors, with the content of `source`. Where
/// the copy would not be of one time unless it is made in one step, `otherwise` is the error.
pub(crate) fn fill(
    source: &File,
    target: &File,
    path: &Path,
    otherwise: Option<PoolError>,
    job: &Job,
) -> Result<()> {
    let size = source.metadata().at("read the source of", path)?.len();
    job.progress.expect(Bytes(size));
    if !reflink(source, target, path)? {
        match otherwise {
            Some(error) => return Err(error),
            None => sparse(source, target, path, size, job)?,
        }
    }
    // A shared copy may be longer: the source grew since its size was read.
    if target.metadata().at("read", path)?.len() < size {
        target.set_len(size).at("size", path)?;
    }
    job.progress.reach(Bytes(size));
    Ok(())
}

fn sparse(source: &File, target: &File, path: &Path, size: u64, job: &Job) -> Result<()> {
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(source, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => break, // Only a hole is left.
            Err(error) => return Err(PoolError::io("read the source of", path, error.into())),
        };
        let hole = rustix::fs::seek(source, SeekFrom::Hole(data)).at("read the source of", path)?;
        at = range(source, target, path, data..hole.min(size), job)?;
    }
    Ok(())
}

/// Copies one range of data and returns its end.
fn range(
    source: &File,
    target: &File,
    path: &Path,
    range: std::ops::Range<u64>,
    job: &Job,
) -> Result<u64> {
    let mut at = range.start;
    while at < range.end {
        if job.cancel.is_cancelled() {
            return Err(PoolError::Cancelled);
        }
        at += chunk(source, target, at, CHUNK_BYTES.min(range.end - at)).at("copy to", path)?;
        job.progress.reach(Bytes(at));
    }
    Ok(range.end)
}

/// Copies some bytes at an offset, in the kernel where it can.
fn chunk(source: &File, target: &File, at: u64, length: u64) -> io::Result<u64> {
    let (mut from, mut to) = (at, at);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), length) {
        // Some file systems answer 0 instead of an error.
        Ok(copied) if copied > 0 => return Ok(copied as u64),
        Ok(_) | Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(Errno::INTR) => return Ok(0),
        Err(error) => return Err(error.into()),
    }
    let mut buffer = vec![0; length];
    source.read_exact_at(&mut buffer, at)?;
    target.write_all_at(&buffer, at)?;
    Ok(length as u64)
}
