//! Kernel calls that may wait for a disk, away from the executor's threads.

use crate::error::{NodeError, Result};

/// Runs `work` where waiting is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(NodeError::Panicked),
    }
}
