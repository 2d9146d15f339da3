//! The life of a serving process: its parts run until one of them fails or a signal comes, and then
//! end in an order that interrupts nothing which is under way.

use std::future::Future;
use std::time::Duration;

use stead_model::operation::Operations;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info, info_span, warn};

use crate::failure::Failure;

/// How long operations under way may take to end. Swarm kills a plugin 10 s after it asked it to stop.
const DRAIN_MAX: Duration = Duration::from_secs(7);

/// How long connections and background tasks may take after that. A client that watches never
/// closes its connection by itself.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// The running parts of this process.
pub(crate) struct Process {
    serving: CancellationToken,
    background: CancellationToken,
    tasks: TaskTracker,
    failures: mpsc::UnboundedSender<Failure>,
    failed: mpsc::UnboundedReceiver<Failure>,
    signals: Signals,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            // Kubernetes, Nomad, Docker and systemd ask by this one.
            _ = self.terminate.recv() => "SIGTERM",
            // Ctrl-C.
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

impl Process {
    /// A process without parts, which from now on ends by its own rules when it is asked to.
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::new(format!("could not await signals: {error}")))
        };
        let signals = Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        };
        let (failures, failed) = mpsc::unbounded_channel();
        Ok(Self {
            serving: CancellationToken::new(),
            background: CancellationToken::new(),
            tasks: TaskTracker::new(),
            failures,
            failed,
            signals,
        })
    }

    /// Cancelled when no new work is taken any more.
    pub(crate) fn serving(&self) -> CancellationToken {
        self.serving.clone()
    }

    /// Cancelled when the last operation has ended: what operations depend on runs until then.
    pub(crate) fn background(&self) -> CancellationToken {
        self.background.clone()
    }

    /// Runs a part. If it fails, or ends before it was asked to, the process ends: a supervisor
    /// starts a whole process better than we mend half of one.
    pub(crate) fn spawn(
        &self,
        part: &'static str,
        work: impl Future<Output = Result<(), Failure>> + Send + 'static,
    ) {
        let (serving, failures) = (self.serving.clone(), self.failures.clone());
        let run = async move {
            let result = work.await;
            if serving.is_cancelled() {
                return;
            }
            let failure = match result {
                Ok(()) => Failure::new(format!("the {part} ended by itself; restart the process")),
                Err(failure) => failure.context(&format!("the {part} failed")),
            };
            // Nobody listens only when the process is ending already.
            let _ = failures.send(failure);
        };
        self.tasks.spawn(run.instrument(info_span!("part", name = part)));
    }

    /// Runs until a signal comes or a part fails, and ends in order: `leave` says that nothing new is
    /// taken, `operations` are let finish, then everything else stops. A second signal ends at once.
    pub(crate) async fn run(
        mut self,
        operations: Vec<Operations>,
        leave: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let result = tokio::select! {
            name = self.signals.next() => {
                info!(signal = name, "stopping");
                Ok(())
            }
            Some(failure) = self.failed.recv() => {
                error!(?failure, "stopping");
                Err(failure)
            }
        };
        let (serving, background, tasks) = (self.serving, self.background, self.tasks);
        let ending = async {
            leave.await;
            serving.cancel();
            drain(&operations).await;
            background.cancel();
            tasks.close();
            if tokio::time::timeout(CLOSE_MAX, tasks.wait()).await.is_err() {
                warn!(tasks = tasks.len(), "connections were still open");
            }
            result
        };
        tokio::select! {
            result = ending => {
                info!("stopped");
                result
            }
            name = self.signals.next() => {
                Err(Failure::new(format!("ended at once by a second signal ({name})")))
            }
        }
    }
}

async fn drain(operations: &[Operations]) {
    let drained = operations.iter().map(|operations| operations.drain(DRAIN_MAX));
    let left: Vec<String> = futures::future::join_all(drained).await.concat();
    if !left.is_empty() {
        // Every operation completes when its call is repeated: ending it here loses nothing.
        warn!(operations = ?left, "operations were still under way");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_fails_ends_the_process() {
        let process = Process::new().unwrap();
        process.spawn("listener", async { Err(Failure::new("no luck")) });
        let failure = process.run(Vec::new(), async {}).await.unwrap_err();
        assert!(format!("{failure:?}").contains("the listener failed: no luck"));
    }

    #[tokio::test]
    async fn background_work_outlives_serving() {
        let process = Process::new().unwrap();
        let (serving, background) = (process.serving(), process.background());
        let operations = Operations::default();
        let operation = stead_model::operation::Operation {
            rpc: "Test",
            objects: vec!["volume v".into()],
            arguments: (),
        };
        let (stopped, lives) = (serving.clone(), background.clone());
        let running = operations.clone();
        let call = tokio::spawn(async move {
            let work = move || async move {
                stopped.cancelled().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(lives.is_cancelled())
            };
            running.run(operation, Duration::from_secs(5), work).await
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        process.spawn("part", async { Err(Failure::new("stop")) });
        process.run(vec![operations], async {}).await.unwrap_err();
        assert!(!call.await.unwrap().unwrap(), "the operation ended before the background did");
        assert!(background.is_cancelled());
    }
}
