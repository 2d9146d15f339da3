//! Files that are there whole or not at all, and locks between processes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::error::{At, PoolError, Result};

/// How a directory is named while it is being filled: nothing lists it.
pub(crate) const NEW: &str = ".new-";
/// How a directory is named while it is being removed: nothing lists it.
pub(crate) const TRASH: &str = ".trash-";
/// The lock file beside the directories that drafts are made in.
const GATE: &str = ".drafts-lock";
/// The lock file in the directory of a volume, and in one that is being filled.
pub(crate) const LOCK: &str = "lock";

/// How long an operation waits for a lock that another one has.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How long it waits between two attempts.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Whether others may have the lock too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The content is read, so it must not begin to change.
    Shared,
    /// The claim, the size or the parameters change.
    Exclusive,
}

/// A lock that ends when this is dropped or the process dies.
#[derive(Debug)]
pub(crate) struct Locked(#[allow(dead_code)] File); // The open file is the lock.

/// Runs `work` where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| PoolError::Panicked)?
}

/// Takes the lock file of `what` named `id`, waiting a bounded time.
pub(crate) async fn lock(
    path: PathBuf,
    mode: Mode,
    what: &'static str,
    id: &str,
) -> Result<Locked> {
    let deadline = tokio::time::Instant::now() + LOCK_WAIT;
    loop {
        let attempt = path.clone();
        let taken = blocking(move || try_lock(&attempt, mode)).await;
        match taken {
            Ok(Some(locked)) => return Ok(locked),
            Ok(None) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(LOCK_RETRY).await;
            }
            Ok(None) => return Err(PoolError::Locked { what, id: id.to_owned() }),
            Err(PoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(PoolError::Absent { what, id: id.to_owned() });
            }
            Err(error) => return Err(error),
        }
    }
}

/// The lock, if nobody else has it. A lock on a file that was removed meanwhile is worth nothing.
pub(crate) fn try_lock(path: &Path, mode: Mode) -> Result<Option<Locked>> {
    // NFS maps these locks to its own, and an exclusive one needs a file that is open for writing.
    let file = OpenOptions::new().read(true).write(true).open(path).at("open", path)?;
    let operation = match mode {
        Mode::Shared => FlockOperation::NonBlockingLockShared,
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::fs::flock(&file, operation) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => return Ok(None),
        Err(error) => return Err(PoolError::io("lock", path, error.into())),
    }
    let (locked, there) = (file.metadata().at("read", path)?, fs::metadata(path).at("read", path)?);
    let same = (locked.dev(), locked.ino()) == (there.dev(), there.ino());
    Ok(same.then_some(Locked(file)))
}

/// Makes a file that is not there yet.
pub(crate) fn create_file(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .at("create", path)
}

/// Makes an empty file where there is none.
pub(crate) fn ensure(path: &Path) -> Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    file.map(drop).at("create", path)
}

/// Makes a directory, with those above it.
pub(crate) fn create_dirs(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).at("create", path)
}

/// Makes the entries of a directory survive a crash.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).at("flush", path)
}

/// Writes a JSON file that is not there yet.
pub(crate) fn write_new<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(io::Error::from).at("encode", path)?;
    let mut file = create_file(path)?;
    file.write_all(&text).at("write", path)?;
    file.sync_all().at("flush", path)
}

/// Writes a JSON file in place of what is there: a crash leaves the old or the new one.
pub(crate) fn replace<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let new = dir.join(format!("{NEW}{}", Uuid::new_v4().simple()));
    let written = write_new(&new, value).and_then(|()| fs::rename(&new, path).at("replace", path));
    if written.is_err() {
        let _ = fs::remove_file(&new); // It may not exist, and the first error is the one to tell.
    }
    written?;
    sync_dir(dir)
}

/// Reads a JSON file; nothing where it is absent.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(PoolError::io("read", path, error)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| PoolError::Damaged { path: path.to_owned(), source: error.into() })
}

/// The names in a directory that count, in their order.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).at("read", dir)? {
        let name = entry.at("read", dir)?.file_name();
        names.extend(name.into_string().ok().filter(|name| !name.starts_with('.')));
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes a directory so that a crash leaves it whole or not listed. Absent is success.
pub(crate) fn remove_dir(dir: &Path) -> Result<()> {
    if let Some(trash) = discard(dir)? {
        sync_dir(dir.parent().unwrap_or(Path::new("/")))?;
        free(&trash);
    }
    Ok(())
}

/// Takes a directory's name away, which deletes it for everyone; nothing where it is absent.
fn discard(dir: &Path) -> Result<Option<PathBuf>> {
    let parent = dir.parent().unwrap_or(Path::new("/"));
    let trash = parent.join(format!("{TRASH}{}", Uuid::new_v4().simple()));
    match fs::rename(dir, &trash) {
        Ok(()) => Ok(Some(trash)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PoolError::io("remove", dir, error)),
    }
}

/// Frees the space of what was discarded; what stays is for the sweep of the next start.
fn free(trash: &Path) {
    match fs::remove_dir_all(trash) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %trash.display(), %error, "could not free the space of what was deleted");
        }
        _ => {}
    }
}

/// Removes what a crash left half made or half removed. What another process fills now stays.
pub(crate) fn sweep(dir: &Path) -> Result<()> {
    {
        let _gate = gate(dir, FlockOperation::LockExclusive)?;
        for path in starting_with(dir, NEW)? {
            if path.is_dir() && !is_filled_now(&path) {
                tracing::info!(path = %path.display(), "removing what a crash left behind");
                discard(&path)?;
            }
        }
    }
    for trash in starting_with(dir, TRASH)? {
        free(&trash);
    }
    Ok(())
}

/// The lock that keeps a sweep from a draft that has no lock of its own yet.
fn gate(parent: &Path, operation: FlockOperation) -> Result<File> {
    let path = parent.with_file_name(GATE);
    ensure(&path)?;
    let file = OpenOptions::new().read(true).write(true).open(&path).at("open", &path)?;
    rustix::fs::flock(&file, operation).at("lock", &path)?;
    Ok(file)
}

fn starting_with(dir: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).at("read", dir)? {
        let entry = entry.at("read", dir)?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn is_filled_now(dir: &Path) -> bool {
    matches!(try_lock(&dir.join(LOCK), Mode::Exclusive), Ok(None))
}

/// Whether a directory cannot get its name because another one with content has it.
pub(crate) fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
}

/// A directory that counts only once it was given its name; dropped before, it is removed.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    lock: Option<Locked>,
    kept: bool,
}

impl Draft {
    /// An empty directory below `parent`, locked so that no sweep takes it away.
    pub(crate) fn new(parent: &Path) -> Result<Self> {
        let path = parent.join(format!("{NEW}{}", Uuid::new_v4().simple()));
        let _gate = gate(parent, FlockOperation::LockShared)?;
        create_dirs(&path)?;
        let mut draft = Self { path, lock: None, kept: false };
        let lock = draft.path.join(LOCK);
        create_file(&lock)?;
        draft.lock = try_lock(&lock, Mode::Exclusive)?;
        Ok(draft)
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name for good; false where that is taken.
    pub(crate) fn keep(mut self, name: &Path) -> Result<bool> {
        sync_dir(&self.path)?;
        match fs::rename(&self.path, name) {
            Ok(()) => {}
            Err(error) if is_taken(&error) => return Ok(false),
            Err(error) => return Err(PoolError::io("create", name, error)),
        }
        self.kept = true;
        sync_dir(name.parent().unwrap_or(Path::new("/")))?;
        Ok(true)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_dir_all(&self.path); // The sweep of the next start gets what stays.
        }
    }
}
