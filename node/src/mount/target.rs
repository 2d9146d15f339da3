//! The path that a workload looks at: made on publish, removed on unpublish, never with content.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{NodeError, Result};

/// What stands at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A directory, to mount a file system on.
    Directory,
    /// A file, to mount a device node on.
    File,
}

/// Makes the target and the directories that lead to it; one that is there already is fine. Says whether
/// it made the target.
pub fn create(path: &Path, shape: Shape) -> Result<bool> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(NodeError::io("create", parent))?;
    }
    let made = match shape {
        Shape::Directory => fs::create_dir(path),
        Shape::File => fs::File::create_new(path).map(drop),
    };
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            check(path, shape).map(|()| false)
        }
        made => made.map(|()| true).map_err(NodeError::io("create", path)),
    }
}

fn check(path: &Path, shape: Shape) -> Result<()> {
    let metadata = fs::symlink_metadata(path).map_err(NodeError::io("look at", path))?;
    if metadata.is_dir() == (shape == Shape::Directory) {
        return Ok(());
    }
    let why = match shape {
        Shape::Directory => "is no directory: a file system needs one",
        Shape::File => "is a directory: a block volume needs a file",
    };
    Err(NodeError::BadPath { path: path.to_owned(), why: why.to_owned() })
}

/// Refuses a directory with content: a mount would hide it, and the target could not be removed.
pub fn check_empty(path: &Path) -> Result<()> {
    if !path.is_dir() {
        return Ok(());
    }
    let mut entries = fs::read_dir(path).map_err(NodeError::io("list", path))?;
    if entries.next().is_none() {
        return Ok(());
    }
    let why = "has content that the volume would hide: use an empty path".to_owned();
    Err(NodeError::BadPath { path: path.to_owned(), why })
}

/// Removes the target. Absent is success; one with content is left as it is and reported.
pub fn remove(path: &Path) -> Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(NodeError::io("look at", path))?,
    };
    let left = |why: &str| NodeError::BadPath { path: path.to_owned(), why: why.to_owned() };
    if metadata.is_dir() {
        return match fs::remove_dir(path) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                Err(left("has content although nothing is mounted there: it was left as it is"))
            }
            removed => removed.map_err(NodeError::io("remove", path)),
        };
    }
    if !metadata.is_file() || metadata.len() > 0 {
        return Err(left("is not the empty file that was put there: it was left as it is"));
    }
    fs::remove_file(path).map_err(NodeError::io("remove", path))
}
