//! Loop devices: those there are, a new one, and letting go of one.
//!
//! A device is recognised by the device and inode number of the file behind it. The kernel keeps 64
//! bytes of text for us beside them; there the volume and the term stand, so that even a plugin that
//! lost all its files knows what each device is and since when.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use stead_model::name::{Term, VolumeId};

use super::ioctl::{self, AUTOCLEAR, DIRECT_IO, Info, READ_ONLY};
use crate::error::{NodeError, Result};

/// How often a free device may be lost to somebody else.
const ATTEMPTS_MAX: u32 = 64;

/// The block size of every loop device. Fixed: left to itself, the kernel derives it from the file
/// system below, and a volume that moves would change its block size, which XFS does not survive.
const BLOCK_BYTES: u32 = 512;

/// A file by what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// That of the file at `path`.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// A loop device in use.
#[derive(Debug)]
pub struct Loop {
    /// Its node below `/dev`.
    pub path: PathBuf,
    /// The file behind it.
    pub identity: Identity,
    /// The volume and term that it was labelled with; none where it is not ours.
    pub label: Option<(VolumeId, Term)>,
    /// Whether it refuses writes.
    pub readonly: bool,
    /// Whether it bypasses the page cache.
    pub direct: bool,
    /// Holding it keeps the device alive.
    pub file: File,
}

/// How to set a new device up.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The file to put behind it.
    pub image: &'a Path,
    /// The volume.
    pub volume: &'a VolumeId,
    /// The term of the hold.
    pub term: Term,
    /// Whether it has to refuse writes.
    pub readonly: bool,
    /// Whether it goes away with its last opener.
    pub transient: bool,
    /// Whether to try to bypass the page cache.
    pub direct: bool,
}

/// Every loop device in use.
pub fn list() -> Result<Vec<Loop>> {
    let root = Path::new("/sys/block");
    let entries = std::fs::read_dir(root).map_err(NodeError::io("list", root))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(NodeError::io("list", root))?;
        let name = entry.file_name();
        let backed = entry.path().join("loop/backing_file").exists();
        if backed && let Some(device) = open(&Path::new("/dev").join(name))? {
            found.push(device);
        }
    }
    Ok(found)
}

/// The loop device at `path`; none where that is another device, or where no file is behind it.
pub fn open(path: &Path) -> Result<Option<Loop>> {
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_CLOEXEC).open(path) {
        Ok(file) => file,
        // It went away since it was listed.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENXIO)) => {
            return Ok(None);
        }
        Err(error) => return Err(NodeError::io("open", path)(error)),
    };
    // The status is read through the open file: from here on the device cannot change behind it.
    match ioctl::status(file.as_fd()) {
        Ok(info) => Ok(Some(Loop {
            path: path.to_owned(),
            identity: Identity { device: info.device, inode: info.inode },
            label: read_label(&info.file_name),
            readonly: info.flags & READ_ONLY != 0,
            direct: info.flags & DIRECT_IO != 0,
            file,
        })),
        Err(Errno::ENXIO | Errno::ENOTTY | Errno::EINVAL) => Ok(None),
        Err(error) => Err(NodeError::kernel("read the status of", path)(error)),
    }
}

/// Puts a file behind a free loop device.
pub fn create(setup: &Setup<'_>) -> Result<Loop> {
    let path = Path::new("/dev/loop-control");
    let control = OpenOptions::new().read(true).write(true).open(path);
    let control = control.map_err(NodeError::io("open", path))?;
    let image = OpenOptions::new().read(true).write(!setup.readonly).open(setup.image);
    let image = image.map_err(NodeError::io("open", setup.image))?;
    let mut flags = 0;
    for (wanted, flag) in
        [(setup.readonly, READ_ONLY), (setup.transient, AUTOCLEAR), (setup.direct, DIRECT_IO)]
    {
        flags |= if wanted { flag } else { 0 };
    }
    let info = Info::new(flags, label(setup.volume, setup.term));
    for _ in 0..ATTEMPTS_MAX {
        let number = ioctl::get_free(control.as_fd()).map_err(NodeError::kernel("ask", path))?;
        let node = PathBuf::from(format!("/dev/loop{number}"));
        let device = OpenOptions::new().read(true).write(!setup.readonly).open(&node);
        let device = device.map_err(NodeError::io("open", &node))?;
        match ioctl::configure(device.as_fd(), image.as_fd(), BLOCK_BYTES, info) {
            Ok(()) => {}
            Err(Errno::EBUSY) => continue,
            Err(error) => return Err(NodeError::kernel("set up", &node)(error)),
        }
        if let Some(made) = open(&node)? {
            return Ok(made);
        }
    }
    Err(NodeError::NoLoop { attempts: ATTEMPTS_MAX })
}

/// Asks the kernel to take the file away; it does so at the latest when the last opener is gone.
pub fn clear(device: Loop) -> Result<()> {
    match ioctl::clear(device.file.as_fd()) {
        Ok(()) | Err(Errno::ENXIO) => Ok(()),
        Err(error) => Err(NodeError::kernel("detach", &device.path)(error)),
    }
}

/// Makes the device as large as its file is now; says how large.
pub fn grow(device: &Loop) -> Result<u64> {
    ioctl::set_capacity(device.file.as_fd()).map_err(NodeError::kernel("grow", &device.path))?;
    ioctl::size(&device.file).map_err(NodeError::kernel("measure", &device.path))
}

/// `vol-...@12`: a volume's id is 36 bytes and a term 20 digits at most, so it fits; a longer id of
/// another maker is cut, and the device then does not count as labelled.
fn label(volume: &VolumeId, term: Term) -> [u8; 64] {
    let mut label = [0; 64];
    let text = format!("{volume}@{term}");
    if text.len() < label.len() {
        label[..text.len()].copy_from_slice(text.as_bytes());
    }
    label
}

fn read_label(label: &[u8; 64]) -> Option<(VolumeId, Term)> {
    let text = label.split(|byte| *byte == 0).next()?;
    let (volume, term) = std::str::from_utf8(text).ok()?.rsplit_once('@')?;
    Some((volume.parse().ok()?, term.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_carries_volume_and_term() {
        let volume = VolumeId::fresh();
        let read = read_label(&label(&volume, Term(u64::MAX)));
        assert_eq!(read, Some((volume, Term(u64::MAX))));
        assert_eq!(read_label(&[0; 64]), None);
    }
}
