//! The folder that the drivers of one test share, and what is left there when the test ends.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use stead_rig::folder::Folder;

use crate::host;

/// The folder of one test. Nothing stays mounted in it, and it is gone with the test.
#[derive(Debug)]
pub(crate) struct Site {
    folder: Folder,
}

impl Site {
    /// A new one.
    pub(crate) fn create() -> Self {
        match Folder::create() {
            Ok(folder) => Self { folder },
            Err(error) => panic!("no folder for the test: {}", error.chain()),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A folder in it.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        match self.folder.folder(name) {
            Ok(path) => path,
            Err(error) => panic!("{}", error.chain()),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for mount in host::mounts_below(self.path()).into_iter().rev() {
            // Lazily, because a test that failed may have left a process in it.
            if let Err(error) = umount2(&mount.target, MntFlags::MNT_DETACH) {
                eprintln!("{} stays mounted: {error}", mount.target.display());
            }
        }
    }
}
