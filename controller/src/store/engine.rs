//! The database file: opened, checked, and opened anew after it failed.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{Builder, Database};

use super::error::{Result, StoreError};
use super::table;

/// The name of the file in the state directory.
const FILE: &str = "identity.redb";

/// What the database may keep in memory.
const CACHE_BYTES: usize = 32 << 20;

/// A database that is opened anew after an error: until then it refuses everything, even after the
/// full disk that caused the error has space again.
pub(crate) struct Engine {
    /// The file; in memory where there is none.
    path: Option<PathBuf>,
    database: RwLock<Option<Database>>,
}

impl Engine {
    /// Opens or makes the file in this directory, and checks all of it.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| StoreError::io(path.clone(), error))?;
        let database = open(&path, true)?;
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|error| StoreError::io(path.clone(), error))?;
        Ok(Self { path: Some(path), database: RwLock::new(Some(database)) })
    }

    /// An empty database that ends with the process.
    pub(crate) fn in_memory() -> Result<Self> {
        let backend = redb::backends::InMemoryBackend::new();
        let name = Path::new("(in memory)");
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend)
            .map_err(|error| StoreError::database(name, error))?;
        table::prepare(&database).map_err(|error| StoreError::database(name, error))?;
        Ok(Self { path: None, database: RwLock::new(Some(database)) })
    }

    /// Where it is, for messages.
    pub(crate) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new("(in memory)"))
    }

    /// Runs `work` on the database. One that failed is opened anew by the next `work`.
    pub(crate) fn run<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T> {
        loop {
            let open = self.database.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(database) = open.as_ref() {
                // A page that was damaged since the file was opened may make the library panic.
                let result = catch_unwind(AssertUnwindSafe(|| work(database)));
                drop(open);
                return match result {
                    Ok(result) => result.map_err(|error| self.fail(error)),
                    Err(_) => {
                        self.close();
                        Err(StoreError::Unreadable { path: self.path().to_owned() })
                    }
                };
            }
            drop(open);
            let mut closed = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if let (None, Some(path)) = (closed.as_ref(), &self.path) {
                *closed = Some(self::open(path, false)?);
            }
        }
    }

    fn fail(&self, error: redb::Error) -> StoreError {
        self.close();
        StoreError::database(self.path(), error)
    }

    fn close(&self) {
        if self.path.is_some() {
            *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// Opens the file and, where `check` says so, reads all of it first.
fn open(path: &Path, check: bool) -> Result<Database> {
    // A damaged file may make the library panic instead of answering.
    let opened = catch_unwind(|| {
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(check)
            .create(path)
            .map_err(redb::Error::from)?;
        let schema = table::prepare(&database)?;
        Ok((database, schema))
    });
    let (database, schema) = match opened {
        Ok(opened) => opened.map_err(|error: redb::Error| StoreError::database(path, error))?,
        Err(_) => return Err(StoreError::Unreadable { path: path.to_owned() }),
    };
    if schema > table::SCHEMA_VERSION {
        return Err(StoreError::TooNew { path: path.to_owned() });
    }
    restrict(path).map_err(|error| StoreError::io(path.to_owned(), error))?;
    Ok(database)
}

/// Who holds what is nobody else's to read or to change.
fn restrict(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}
