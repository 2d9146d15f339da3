//! What can go wrong in the embedded store, and the one conversion to the error of the ports.

use std::io;
use std::path::{Path, PathBuf};

use stead_model::Error;
use stead_model::port::Key;

/// An error of the embedded store: the sentence says what to change.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are the terms that the sentences speak of.
pub enum StoreError {
    #[error("'{0}' exists already")]
    Exists(Key),
    #[error("'{0}' has changed since it was read")]
    Changed(Key),
    #[error(
        "the store '{}' is in use by another process: stop it, or give this one another --state-dir",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "the store '{}' is damaged: restore a backup of it, or move it away to begin with an empty \
         one; nothing was deleted", path.display()
    )]
    Damaged {
        path: PathBuf,
        #[source]
        source: redb::Error,
    },
    #[error("the store '{}' is damaged so badly that reading it failed: restore a backup of it; nothing was deleted", path.display())]
    Unreadable { path: PathBuf },
    #[error("the store '{}' is of a later version of Stead: upgrade this one", path.display())]
    TooNew { path: PathBuf },
    #[error("the store '{}' cannot be written: make its directory writable for this user", path.display())]
    ReadOnly {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("there is no space left for the store '{}': free some; what was stored is safe", path.display())]
    NoSpace {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the store '{}' failed", path.display())]
    Failed {
        path: PathBuf,
        #[source]
        source: redb::Error,
    },
    #[error("the store is closing")]
    Closing,
    #[error("this reader of changes fell behind or the store failed: watch and list anew")]
    Lagged,
}

impl StoreError {
    /// The error of a failed database call, named by what a person can do about it.
    pub(crate) fn database(path: &Path, error: impl Into<redb::Error>) -> Self {
        let path = path.to_owned();
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path },
            redb::Error::Io(source) => Self::io(path, source),
            redb::Error::UpgradeRequired(_) => Self::TooNew { path },
            source @ (redb::Error::Corrupted(_)
            | redb::Error::RepairAborted
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }) => Self::Damaged { path, source },
            source => Self::Failed { path, source },
        }
    }

    pub(crate) fn io(path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path, source }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path, source }
            }
            // A file that is no database, or one that was cut short.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Self::Damaged { path, source: redb::Error::Io(source) }
            }
            _ => Self::Failed { path, source: redb::Error::Io(source) },
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let sentence = error.to_string();
        match error {
            StoreError::Exists(_) => Error::already_exists(sentence),
            StoreError::Changed(_) => Error::conflict(sentence),
            StoreError::InUse { .. } | StoreError::TooNew { .. } => Error::precondition(sentence),
            StoreError::ReadOnly { source, .. } => Error::precondition(sentence).because(source),
            StoreError::Damaged { source, .. } => Error::corrupt(sentence).because(source),
            StoreError::Unreadable { .. } => Error::corrupt(sentence),
            StoreError::NoSpace { source, .. } => Error::exhausted(sentence).because(source),
            StoreError::Failed { source, .. } => Error::unavailable(sentence).because(source),
            StoreError::Closing | StoreError::Lagged => Error::unavailable(sentence),
        }
    }
}

/// The result of the store's own functions.
pub(crate) type Result<T, E = StoreError> = std::result::Result<T, E>;
