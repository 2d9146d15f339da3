//! Operations that outlive the call that asked for them.
//!
//! Orchestrators give up on slow calls and repeat them: Swarm after 15 s, the Kubernetes provisioner
//! after 15 s, Nomad at each retry. An operation therefore runs detached from its caller; a repeat
//! joins it, and a call that differs is refused while it runs (CSI, "Error Scheme": ABORTED where an
//! operation is pending for the volume). Objects are serialised one by one; there is no global lock.
//!
//! Nothing of an operation is remembered once it has ended, nor across a restart: a repeat then runs
//! it again, and every operation begins by reading the truth.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument;

use crate::{Error, Result};

type Outcome = Option<Result<Arc<dyn Any + Send + Sync>>>;

/// The operations under way in this process.
#[derive(Clone, Default)]
pub struct Operations {
    running: Arc<Mutex<HashMap<String, Running>>>,
}

#[derive(Clone)]
struct Running {
    rpc: &'static str,
    arguments: Arc<dyn Any + Send + Sync>,
    outcome: watch::Receiver<Outcome>,
}

/// What an operation is: a call of the same one joins it.
pub struct Operation<A> {
    /// The remote procedure.
    pub rpc: &'static str,
    /// What it works on, such as `volume vol-1`: nothing else may work on any of these meanwhile.
    pub objects: Vec<String>,
    /// Its arguments.
    pub arguments: A,
}

impl Operations {
    /// Runs `work`, or joins it where the same operation is under way, and waits for its outcome for
    /// at most `patience`. Whether the caller waits, gives up or goes away, the work goes on.
    ///
    /// A different operation on one of the objects is [`Kind::Busy`](crate::Kind), and so is one that
    /// takes longer than `patience`: the caller is to repeat the same call.
    pub async fn run<A, T, W>(
        &self,
        operation: Operation<A>,
        patience: Duration,
        work: impl FnOnce() -> W,
    ) -> Result<T>
    where
        A: PartialEq + Send + Sync + 'static,
        T: Clone + Send + Sync + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let rpc = operation.rpc;
        let outcome = self.join_or_start(operation, work)?;
        match tokio::time::timeout(patience, settled::<T>(outcome)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(Error::busy(format!("{rpc} is still under way: repeat the call to join it")))
            }
        }
    }

    /// Waits until nothing is under way, for at most `patience`; says what still is.
    pub async fn drain(&self, patience: Duration) -> Vec<String> {
        let end = tokio::time::Instant::now() + patience;
        loop {
            let Some((_, running)) = self.lock().iter().next().map(|(k, v)| (k.clone(), v.clone()))
            else {
                return Vec::new();
            };
            let mut outcome = running.outcome;
            let ended = outcome.wait_for(Option::is_some);
            if tokio::time::timeout_at(end, ended).await.is_err() {
                return self.lock().iter().map(|(o, r)| format!("{} of {o}", r.rpc)).collect();
            }
            // The entry goes a moment after its outcome came.
            tokio::task::yield_now().await;
        }
    }

    fn join_or_start<A, T, W>(
        &self,
        operation: Operation<A>,
        work: impl FnOnce() -> W,
    ) -> Result<watch::Receiver<Outcome>>
    where
        A: PartialEq + Send + Sync + 'static,
        T: Clone + Send + Sync + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let Operation { rpc, objects, arguments } = operation;
        let mut running = self.lock();
        for object in &objects {
            let Some(other) = running.get(object) else { continue };
            if other.rpc == rpc && other.arguments.downcast_ref::<A>() == Some(&arguments) {
                return Ok(other.outcome.clone());
            }
            let other = other.rpc;
            return Err(Error::busy(format!(
                "{other} is under way for {object}: repeat {rpc} later"
            )));
        }
        let (sender, outcome) = watch::channel(None);
        let entry = Running { rpc, arguments: Arc::new(arguments), outcome: outcome.clone() };
        for object in &objects {
            running.insert(object.clone(), entry.clone());
        }
        drop(running);
        let ending = Ending { operations: self.clone(), objects };
        let work = work();
        let task = async move {
            let result = work.await.map(|value| Arc::new(value) as Arc<dyn Any + Send + Sync>);
            // First the objects are free, then the outcome is known: a caller that acts on the
            // outcome never finds its own operation in the way.
            drop(ending);
            sender.send_replace(Some(result));
        };
        tokio::spawn(task.in_current_span());
        Ok(outcome)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        // The map is whole between any two statements: a panic elsewhere cannot have torn it.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frees the objects when the operation ends, even by a panic.
struct Ending {
    operations: Operations,
    objects: Vec<String>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut running = self.operations.lock();
        for object in &self.objects {
            running.remove(object);
        }
    }
}

async fn settled<T: Clone + 'static>(mut outcome: watch::Receiver<Outcome>) -> Result<T> {
    let lost =
        || Error::corrupt("an operation ended without an outcome: see the log for its panic");
    let settled = outcome.wait_for(Option::is_some).await.map_err(|_| lost())?;
    match settled.as_ref() {
        Some(Ok(value)) => value.downcast_ref::<T>().cloned().ok_or_else(lost),
        Some(Err(error)) => Err(error.clone()),
        None => Err(lost()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Notify;

    const LONG: Duration = Duration::from_secs(60);

    fn operation(rpc: &'static str, arguments: u32) -> Operation<u32> {
        Operation { rpc, objects: vec!["volume v".into()], arguments }
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeat_joins_and_the_work_runs_once() {
        let operations = Operations::default();
        let runs = Arc::new(AtomicU32::new(0));
        let go = Arc::new(Notify::new());
        let call = || {
            let (runs, go) = (runs.clone(), go.clone());
            operations.run(operation("Create", 1), LONG, move || async move {
                go.notified().await;
                Ok(runs.fetch_add(1, Ordering::SeqCst))
            })
        };
        let (a, b, ()) = tokio::join!(call(), call(), async {
            tokio::task::yield_now().await;
            go.notify_one();
        });
        assert_eq!((a.unwrap(), b.unwrap()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_differing_call_is_busy_until_the_first_has_ended() {
        let operations = Operations::default();
        let slow = || async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok(1u32)
        };
        let first = operations.run(operation("Create", 1), LONG, slow);
        let second = async {
            tokio::task::yield_now().await;
            let other_arguments = operations.run(operation("Create", 2), LONG, slow).await;
            assert_eq!(other_arguments.unwrap_err().kind(), Kind::Busy);
            let other_rpc = operations.run(operation("Delete", 1), LONG, slow).await;
            assert_eq!(other_rpc.unwrap_err().kind(), Kind::Busy);
        };
        let (first, ()) = tokio::join!(first, second);
        assert_eq!(first.unwrap(), 1);
        assert_eq!(operations.run(operation("Delete", 1), LONG, slow).await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_work_goes_on_when_its_caller_goes_away() {
        let operations = Operations::default();
        let done = Arc::new(AtomicU32::new(0));
        let work = {
            let done = done.clone();
            move || async move {
                tokio::time::sleep(Duration::from_secs(5)).await;
                done.store(1, Ordering::SeqCst);
                Ok(())
            }
        };
        let call = operations.run(operation("Create", 1), LONG, work);
        assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
        assert_eq!(operations.drain(LONG).await, Vec::<String>::new());
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_without_patience_is_told_to_repeat() {
        let operations = Operations::default();
        let slow = || async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Ok(3u32)
        };
        let short = Duration::from_secs(15);
        let first = operations.run(operation("Publish", 1), short, slow).await;
        assert_eq!(first.unwrap_err().kind(), Kind::Busy);
        assert_eq!(operations.run(operation("Publish", 1), short, slow).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_panic_frees_the_object() {
        let operations = Operations::default();
        let panics = || async { panic!("on purpose") };
        let outcome: Result<()> = operations.run(operation("Create", 1), LONG, panics).await;
        assert_eq!(outcome.unwrap_err().kind(), Kind::Corrupt);
        assert!(operations.run(operation("Delete", 1), LONG, || async { Ok(()) }).await.is_ok());
    }
}
