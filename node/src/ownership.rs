//! `VOLUME_MOUNT_GROUP`: the files of a volume belong to a group that the workload is in.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::Path;

use nix::unistd::Group;
use stead_model::Error;
use walkdir::WalkDir;

use crate::error::{NodeError, Result};

const GROUP_RW: u32 = 0o060;
const GROUP_X: u32 = 0o010;
const SETGID: u32 = 0o2000;

/// The number of a group, given as such or by name.
pub(crate) fn group_id(text: &str) -> Result<u32, Error> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let group = Group::from_name(text).ok().flatten();
    group.map(|group| group.gid.as_raw()).ok_or_else(|| {
        let shown = text.escape_default();
        Error::invalid(format!(
            "volume_mount_group '{shown}' is no group of this node: use its number"
        ))
    })
}

/// Gives everything below `root` to the group, unless `root` itself already is as it should be: it
/// is changed last, so an attempt that was cut short is made again.
pub(crate) fn apply(root: &Path, gid: u32) -> Result<()> {
    let metadata = std::fs::metadata(root).map_err(NodeError::io("look at", root))?;
    let wanted = GROUP_RW | GROUP_X | SETGID;
    if metadata.gid() == gid && metadata.mode() & wanted == wanted {
        return Ok(());
    }
    // `same_file_system`: what is mounted below is another volume's.
    for entry in WalkDir::new(root).min_depth(1).same_file_system(true).contents_first(true) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            NodeError::io("walk", &path)(error.into())
        })?;
        change(entry.path(), gid)?;
    }
    change(root, gid)
}

fn change(path: &Path, gid: u32) -> Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        // The workload may be at work already.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(NodeError::io("look at", path)(error)),
    };
    if metadata.is_symlink() {
        return lchown(path, None, Some(gid)).map_err(NodeError::io("change the group of", path));
    }
    chown(path, None, Some(gid)).map_err(NodeError::io("change the group of", path))?;
    let mode = metadata.mode();
    let more = match (metadata.is_dir(), mode & 0o111) {
        (true, _) => GROUP_RW | GROUP_X | SETGID,
        (false, 0) => GROUP_RW,
        (false, _) => GROUP_RW | GROUP_X,
    };
    let permissions = std::fs::Permissions::from_mode((mode | more) & 0o7777);
    std::fs::set_permissions(path, permissions)
        .map_err(NodeError::io("change the permissions of", path))
}
