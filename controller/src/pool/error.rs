//! What can go wrong in the pool, and the one conversion to the error of the ports.

use std::io;
use std::path::{Path, PathBuf};

use stead_model::Error;
use stead_model::name::{Bytes, NodeId, Term};

/// An error of the pool: the sentence says what to change.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are the terms that the sentences speak of.
pub enum PoolError {
    #[error("there is no {what} '{id}' in the pool")]
    Absent { what: &'static str, id: String },
    #[error("there is a {what} '{id}' already, and it differs: {how}")]
    Differs { what: &'static str, id: String, how: String },
    #[error("'{0}' cannot be the name of a file: use letters, digits, '-' and '_'")]
    BadId(String),
    #[error(
        "volume '{id}' is attached to node '{node}' with term {term}: unpublish it there first"
    )]
    Attached { id: String, node: NodeId, term: Term },
    #[error("term {asked} for volume '{id}' is over: it is {now} now")]
    OldTerm { id: String, asked: Term, now: Term },
    #[error(
        "volume '{id}' is attached to node '{node}', so a copy of it would mix times: unpublish it \
         first, or put a pool that is not shared on xfs or btrfs, which can copy it in one step"
    )]
    NoCut { id: String, node: NodeId },
    #[error(
        "volume '{id}' is attached to node '{node}', so the group would mix times: unpublish every \
         volume of the group first"
    )]
    NoGroupCut { id: String, node: NodeId },
    #[error(
        "snapshot '{taken}' of the group exists and '{missing}' does not, so they would be of two \
         times: delete it or use another name"
    )]
    PartOfGroup { taken: String, missing: String },
    #[error("{what} '{id}' is being copied or changed: repeat the call")]
    Locked { what: &'static str, id: String },
    #[error("the copy was given up by whoever had asked for it")]
    Cancelled,
    #[error(
        "{asked} bytes is less than the {source_size} bytes of the source: ask for at least as much"
    )]
    BelowSource { asked: Bytes, source_size: Bytes },
    #[error("{asked} bytes is more than the whole pool of {total} bytes can ever hold")]
    BeyondPool { asked: Bytes, total: Bytes },
    #[error(
        "the pool has {available} bytes left and {asked} are needed: delete volumes or snapshots, \
         or grow the file system of '{}'", root.display()
    )]
    Full { root: PathBuf, asked: Bytes, available: Bytes },
    #[error("there is no space left for '{}': delete volumes or snapshots, or grow the file system", path.display())]
    NoSpace { path: PathBuf },
    #[error("parameter '{key}' is unknown: the pool knows {known}")]
    UnknownParameter { key: String, known: String },
    #[error("parameter '{key}' is '{value}': use one of {allowed}")]
    BadValue { key: &'static str, value: String, allowed: String },
    #[error("parameter '{key}' is fixed when the volume is made: only {mutable} can change later")]
    FixedParameter { key: String, mutable: String },
    #[error("{0}")]
    Setup(String),
    #[error("'{}' cannot be written: make it writable for this user", path.display())]
    ReadOnly {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("'{}' is damaged: restore it from a backup or delete the volume", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not {action} '{}'", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the work on the pool ended early")]
    Panicked,
}

impl PoolError {
    /// The error of a failed system call, named by what a person can do about it.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        let sentence = error.to_string();
        match error {
            PoolError::Absent { .. } => Error::not_found(sentence),
            PoolError::Differs { .. } => Error::already_exists(sentence),
            PoolError::BadId(_)
            | PoolError::UnknownParameter { .. }
            | PoolError::BadValue { .. }
            | PoolError::FixedParameter { .. } => Error::invalid(sentence),
            PoolError::Attached { .. }
            | PoolError::OldTerm { .. }
            | PoolError::NoCut { .. }
            | PoolError::NoGroupCut { .. }
            | PoolError::PartOfGroup { .. }
            | PoolError::Setup(_) => Error::precondition(sentence),
            PoolError::Locked { .. } => Error::busy(sentence),
            PoolError::BelowSource { .. } | PoolError::BeyondPool { .. } => {
                Error::out_of_range(sentence)
            }
            PoolError::Full { .. } | PoolError::NoSpace { .. } => Error::exhausted(sentence),
            PoolError::ReadOnly { source, .. } => Error::precondition(sentence).because(source),
            PoolError::Damaged { source, .. } => Error::corrupt(sentence).because(source),
            PoolError::Io { source, .. } => Error::unavailable(sentence).because(source),
            PoolError::Cancelled | PoolError::Panicked => Error::unavailable(sentence),
        }
    }
}

/// The result of the pool's own functions.
pub(crate) type Result<T, E = PoolError> = std::result::Result<T, E>;

/// Names the system call and the path that an [`io::Error`] lacks.
pub(crate) trait At<T> {
    /// Adds what was done to what.
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|error| PoolError::io(action, path, error.into()))
    }
}
