//! Telling of long copies while they run.

use std::future::Future;
use std::time::Duration;

use stead_model::port::Progress;

/// How often a copy is told of.
const INTERVAL: Duration = Duration::from_secs(5);

/// Runs `work` with a progress that is logged while it lasts.
pub(crate) async fn told<T, W: Future<Output = T>>(work: impl FnOnce(Progress) -> W) -> T {
    let progress = Progress::default();
    let work = work(progress.clone());
    tokio::pin!(work);
    loop {
        match tokio::time::timeout(INTERVAL, &mut work).await {
            Ok(done) => return done,
            Err(_) => {
                let (done, total) = progress.read();
                tracing::info!(done_bytes = done.0, total_bytes = total.0, "still copying");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_still_ends_with_its_own_outcome() {
        let outcome = told(|_| async {
            tokio::time::sleep(3 * INTERVAL).await;
            7
        });
        assert_eq!(outcome.await, 7);
    }
}
