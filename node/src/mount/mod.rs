//! Where a device or a directory appears in the file tree, and what is there already.

pub mod flags;
pub mod table;
pub mod target;
pub mod users;

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};

use crate::error::{NodeError, Result};
use crate::filesystem::FsKind;
use flags::Options;

/// The flags of a single mount point, which a remount would otherwise reset.
const PER_MOUNT: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC)
    .union(MsFlags::MS_NOATIME)
    .union(MsFlags::MS_NODIRATIME)
    .union(MsFlags::MS_RELATIME);

/// Mounts the file system on `device`.
pub fn mount(device: &Path, path: &Path, kind: FsKind, options: &Options) -> Result<()> {
    let data = (!options.data.is_empty()).then_some(options.data.as_str());
    let mounted = nix::mount::mount(Some(device), path, Some(kind.name()), options.flags, data);
    let refused = |why: &str| NodeError::BadPath { path: path.to_owned(), why: why.to_owned() };
    mounted.map_err(|error| match error {
        Errno::EINVAL => refused(&format!(
            "cannot have {kind} mounted with these flags: correct mount_flags; the kernel's log says which"
        )),
        Errno::ENODEV => refused(&format!("cannot have {kind} mounted: this kernel lacks it")),
        Errno::EUCLEAN | Errno::EBADMSG => NodeError::Damaged {
            device: device.to_owned(),
            report: format!("the kernel refuses the {kind} file system: see its log"),
        },
        error => NodeError::kernel("mount the file system at", path)(error),
    })
}

/// Shows `source`, a directory or a device node, at `target` too.
pub fn bind(source: &Path, target: &Path, readonly: bool, options: &Options) -> Result<()> {
    let none = None::<&str>;
    nix::mount::mount(Some(source), target, none, MsFlags::MS_BIND, none)
        .map_err(NodeError::kernel("bind-mount at", target))?;
    if !readonly {
        return Ok(());
    }
    // The kernel ignores everything but MS_BIND at first: read-only takes a second call.
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let flags = flags | (options.flags & PER_MOUNT);
    let remounted = nix::mount::mount(none, target, none, flags, none);
    if let Err(error) = remounted {
        // Never leave it there writable.
        unmount(target)?;
        return Err(NodeError::kernel("make read-only", target)(error));
    }
    Ok(())
}

/// Takes away whatever is mounted at `path`, however often. Nothing there is success; something in use
/// is an error that names who uses it.
pub fn unmount(path: &Path) -> Result<()> {
    loop {
        match umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::ENOENT) => return Ok(()),
            // Not a mount point; but the kernel says the same of one that it will not let go.
            Err(Errno::EINVAL) if table::at(path)?.is_none() => return Ok(()),
            Err(Errno::EBUSY) => {
                let users = users::of_path(path);
                return Err(NodeError::InUse { path: path.to_owned(), users });
            }
            Err(error) => return Err(NodeError::kernel("unmount", path)(error)),
        }
    }
}

/// The path as the kernel's mount table has it: symbolic links on the way are followed, the last
/// component is not and must not be one.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let bad = |why: &str| NodeError::BadPath { path: path.to_owned(), why: why.to_owned() };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(bad("is no path that a volume can be put at"));
    };
    let resolved = match parent.canonicalize() {
        Ok(parent) => parent.join(name),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(NodeError::io("resolve", path)(error)),
    };
    if std::fs::symlink_metadata(&resolved).is_ok_and(|it| it.is_symlink()) {
        return Err(bad("is a symbolic link: a volume is never put behind one"));
    }
    Ok(resolved)
}
