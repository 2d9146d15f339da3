//! A rig's folder: sockets, disks and logs, gone with the run that made it.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use stead_model::{Error, Result};

use crate::loops;

/// Folders of rigs start with it.
const PREFIX: &str = "stead-rig-";

/// Where rigs have their folders unless `STEAD_RIG_DIR` says otherwise: on a real disk, unlike
/// `/tmp` on many machines.
const HOME: &str = "/var/tmp";

/// A folder that is locked while its run lives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    keep: bool,
    _lock: Flock<File>,
}

impl Folder {
    /// Makes one, and clears away what dead runs have left.
    pub fn create() -> Result<Self> {
        let home = std::env::var_os("STEAD_RIG_DIR").map_or_else(|| HOME.into(), PathBuf::from);
        sweep(&home)?;
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&home).map_err(|error| {
            Error::unavailable(format!("could not make a folder in {}", home.display()))
                .because(error)
        })?;
        let path = made.keep();
        let lock = lock(&path)?
            .ok_or_else(|| Error::busy(format!("{} is locked by another run", path.display())))?;
        Ok(Self { path, keep: false, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, made where it is absent.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).map_err(|error| {
            Error::unavailable(format!("could not make {}", path.display())).because(error)
        })?;
        Ok(path)
    }

    /// Leaves its files where they are when it is dropped, but for the disks in `pool`.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Takes [`Folder::keep`] back.
    pub fn discard(mut self) {
        self.keep = false;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = release(&self.path) {
            eprintln!("{}", error.chain());
        }
        // Disks are large and logs tell more. What cannot be removed is swept by the next run.
        let gone = if self.keep { self.path.join("pool") } else { self.path.clone() };
        let _ = std::fs::remove_dir_all(gone);
    }
}

/// Clears away the folders and loop devices of runs that are dead.
pub fn sweep(home: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::unavailable(format!("could not read {}", home.display())).because(error)
    };
    for entry in std::fs::read_dir(home).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let ours = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(PREFIX));
        // A folder whose logs were kept has no lock file and stays.
        if !ours || !path.join("lock").exists() {
            continue;
        }
        if let Some(_lock) = lock(&path)? {
            release(&path)?;
            let _ = std::fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

/// The lock of a folder, unless a living run has it.
fn lock(path: &Path) -> Result<Option<Flock<File>>> {
    let failed = || Error::unavailable(format!("could not lock {}", path.display()));
    let file = File::create(path.join("lock")).map_err(|error| failed().because(error))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(failed().because(error)),
    }
}

fn release(path: &Path) -> Result<()> {
    let _ = std::fs::remove_file(path.join("lock"));
    for found in loops::below(path)? {
        loops::detach(&found)?;
    }
    Ok(())
}
