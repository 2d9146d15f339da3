//! What a power cut does to disks, on one kernel: a file system that stops between two writes, and
//! a disk that is let go.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use stead_model::{Error, Result};

use crate::need::LOSETUP;

mod shutdown {
    // `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN` are one number.
    nix::ioctl_read!(file_system, b'X', 125, u32);

    /// Not even what the journal still has in memory is written.
    pub(super) const NO_LOG_FLUSH: u32 = 2;
}

/// A loop device and the file behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loop {
    /// The device.
    pub device: PathBuf,
    /// The file, as the kernel names it: ` (deleted)` follows where it has no name any more.
    pub file: String,
}

/// The loop devices whose file lies in a folder.
pub fn below(folder: &Path) -> Result<Vec<Loop>> {
    let failed =
        |error: std::io::Error| Error::unavailable("could not read /sys/block").because(error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/block").map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A device without a file has no such attribute; it may also go while we look.
        let Ok(file) = std::fs::read_to_string(entry.path().join("loop/backing_file")) else {
            continue;
        };
        let file = file.trim_end().to_owned();
        if Path::new(&file).starts_with(folder) {
            found.push(Loop { device: Path::new("/dev").join(entry.file_name()), file });
        }
    }
    found.sort_by(|one, other| one.device.cmp(&other.device));
    Ok(found)
}

/// Lets go of a loop device. One that is let go already is fine.
pub fn detach(found: &Loop) -> Result<()> {
    let tool = LOSETUP.find()?;
    let output = Command::new(tool).arg("-d").arg(&found.device).output().map_err(|error| {
        Error::unavailable(format!("could not run losetup for {}", found.device.display()))
            .because(error)
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || said.contains("No such device") {
        return Ok(());
    }
    Err(Error::unavailable(format!("{} stays attached: {}", found.device.display(), said.trim())))
}

/// Stops a mounted file system between two writes: what was not synced is lost, as when the power
/// goes. `false` where this file system cannot be stopped so.
#[allow(unsafe_code)]
pub fn cut(mount_point: &Path) -> Result<bool> {
    let failed = || Error::unavailable(format!("could not stop {}", mount_point.display()));
    let root = File::open(mount_point).map_err(|error| failed().because(error))?;
    let mut how = shutdown::NO_LOG_FLUSH;
    // SAFETY: the descriptor is open, and the kernel only reads the one number behind the pointer.
    match unsafe { shutdown::file_system(root.as_raw_fd(), &raw mut how) } {
        Ok(_) => Ok(true),
        Err(Errno::ENOTTY | Errno::EOPNOTSUPP | Errno::EINVAL) => Ok(false),
        Err(error) => Err(failed().because(error)),
    }
}
