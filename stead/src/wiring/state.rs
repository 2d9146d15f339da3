//! The directory of what has to survive the process.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::failure::Failure;

/// Makes the directory where it is missing, for our own user alone.
pub(super) fn prepare(dir: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        Failure::new(format!(
            "could not make the state directory '{}': {error}; run as root, or name another one by \
             --state-dir",
            dir.display()
        ))
    })
}
