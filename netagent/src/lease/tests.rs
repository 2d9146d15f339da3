use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use stead_model::port::{Changes, Entry, IdentityStore, Key, MemoryStore, Page, Revision};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

const TTL: Duration = Duration::from_secs(5);

/// A clock that runs with the test's time and can jump, as after a suspended host wakes up.
struct TestClock {
    start: Instant,
    jumped: Mutex<Duration>,
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        Duration::from_secs(1000) + self.start.elapsed() + *self.jumped.lock().unwrap()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

/// A store whose writes can happen without an answer.
struct Lossy {
    inner: MemoryStore,
    silent: AtomicBool,
}

#[async_trait]
impl IdentityStore for Lossy {
    async fn create(&self, key: &Key, value: Bytes) -> Result<Revision, ModelError> {
        self.inner.create(key, value).await
    }

    async fn update(&self, key: &Key, value: Bytes, at: Revision) -> Result<Revision, ModelError> {
        let result = self.inner.update(key, value, at).await;
        if self.silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        result
    }

    async fn delete(&self, key: &Key, at: Revision) -> Result<(), ModelError> {
        self.inner.delete(key, at).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, ModelError> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Vec<Entry>, ModelError> {
        self.inner.list(prefix, page).await
    }

    async fn watch(&self, prefix: &str) -> Result<Changes, ModelError> {
        self.inner.watch(prefix).await
    }
}

struct Rig {
    store: Arc<Lossy>,
    clock: Arc<TestClock>,
    dir: TempDir,
}

impl Rig {
    fn new() -> Self {
        let store = Lossy { inner: MemoryStore::new(), silent: AtomicBool::new(false) };
        let clock = TestClock { start: Instant::now(), jumped: Mutex::default() };
        let (store, clock) = (Arc::new(store), Arc::new(clock));
        Self { store, clock, dir: tempfile::tempdir().unwrap() }
    }

    fn registry(&self) -> Registry {
        Registry::new(Arc::clone(&self.store) as _)
    }

    async fn start(&self) -> (LeaseView, JoinHandle<()>) {
        let terms = Terms {
            node: "a".parse().unwrap(),
            ttl: TTL,
            topology: BTreeMap::new(),
            addresses: Vec::new(),
        };
        let clock = Arc::clone(&self.clock) as _;
        let keeper = Keeper::new(terms, self.registry(), clock, self.dir.path()).await.unwrap();
        let view = keeper.view();
        let task = tokio::spawn(keeper.run(CancellationToken::new()));
        view.subscribe().wait_for(Option::is_some).await.unwrap();
        (view, task)
    }

    async fn record(&self) -> NodeLease {
        let key = node_key(&"a".parse().unwrap());
        self.registry().require::<NodeLease>(&key).await.unwrap().decoded.record
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_a_few_times_each_term_and_never_ends() {
    let rig = Rig::new();
    let (view, _task) = rig.start().await;
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(view.remaining().unwrap() >= TTL / 2);
    }
    let record = rig.record().await;
    assert_eq!(record.epoch, Epoch(1));
    assert!((36..=50).contains(&record.renewals), "{} writes a minute", record.renewals);
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_or_a_lost_answer_costs_nothing() {
    let rig = Rig::new();
    let (view, _task) = rig.start().await;
    rig.store.inner.set_reachable(false);
    tokio::time::sleep(TTL / 2).await;
    rig.store.inner.set_reachable(true);
    tokio::time::sleep(TTL).await;
    assert_eq!(view.current().unwrap().epoch, Epoch(1));
    // The write happens, the answer never comes: the next attempt finds a revision it did not see.
    rig.store.silent.store(true, Ordering::Relaxed);
    tokio::time::sleep(TTL / 3).await;
    rig.store.silent.store(false, Ordering::Relaxed);
    tokio::time::sleep(TTL).await;
    assert_eq!(view.current().unwrap().epoch, Epoch(1));
    assert_eq!(rig.record().await.epoch, Epoch(1));
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_ends_it_in_time_and_the_next_epoch_begins() {
    for silent in [false, true] {
        let rig = Rig::new();
        let (view, _task) = rig.start().await;
        let mut changes = view.subscribe();
        let lost_at = view.current().unwrap().end;
        rig.store.inner.set_reachable(silent);
        rig.store.silent.store(silent, Ordering::Relaxed);
        changes.wait_for(Option::is_none).await.unwrap();
        let late = rig.clock.now().saturating_sub(lost_at);
        assert!(late <= 2 * LOOK, "it was noticed {late:?} after the end");
        assert!(view.current().is_none() && view.remaining().is_none());
        rig.store.inner.set_reachable(true);
        rig.store.silent.store(false, Ordering::Relaxed);
        let lease = changes.wait_for(Option::is_some).await.unwrap().unwrap();
        assert!(lease.epoch > Epoch(1));
        assert_eq!(lease.booted, Epoch(1), "the host never went down");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_slept_has_lost_it_by_the_clock_alone() {
    let rig = Rig::new();
    let (view, _task) = rig.start().await;
    let mut changes = view.subscribe();
    *rig.clock.jumped.lock().unwrap() += 2 * TTL;
    assert!(view.remaining().is_none(), "no timer has to fire for that");
    let lease = changes.wait_for(|lease| lease.is_some_and(|it| it.epoch > Epoch(1))).await;
    assert_eq!(lease.unwrap().unwrap().epoch, Epoch(2));
}

#[tokio::test(start_paused = true)]
async fn a_second_agent_of_the_same_node_ends_it() {
    let rig = Rig::new();
    let (view, _task) = rig.start().await;
    let mut changes = view.subscribe();
    let key = node_key(&"a".parse().unwrap());
    let edit = |lease: &mut NodeLease| {
        lease.epoch = Epoch(7);
        Ok(())
    };
    rig.registry().change(&key, edit).await.unwrap();
    let lease = changes.wait_for(|lease| lease.is_some_and(|it| it.epoch > Epoch(1))).await;
    assert_eq!(lease.unwrap().unwrap().epoch, Epoch(8));
}

#[tokio::test(start_paused = true)]
async fn a_successor_goes_on_within_the_lease_and_begins_anew_after_it() {
    let rig = Rig::new();
    let (_, task) = rig.start().await;
    tokio::time::sleep(TTL).await;
    task.abort();
    tokio::time::sleep(TTL / 3).await;
    let (view, task) = rig.start().await;
    assert_eq!(view.current().unwrap().epoch, Epoch(1));
    task.abort();
    tokio::time::sleep(TTL).await;
    let (view, task) = rig.start().await;
    let lease = view.current().unwrap();
    assert_eq!((lease.epoch, lease.booted), (Epoch(2), Epoch(1)));
    task.abort();
    // A boot empties the directory: nothing of the epochs before is mounted any more.
    tokio::time::sleep(LOOK).await;
    std::fs::remove_file(rig.dir.path().join("lease.json")).unwrap();
    let (view, _task) = rig.start().await;
    let lease = view.current().unwrap();
    assert_eq!((lease.epoch, lease.booted), (Epoch(3), Epoch(3)));
}

#[tokio::test(start_paused = true)]
async fn a_removed_record_does_not_bring_back_an_epoch_that_a_hold_names() {
    use stead_model::hold::{Hold, Holder};
    use stead_model::name::Term;
    use stead_model::record::HoldKey;

    let rig = Rig::new();
    let holder = Holder { node: "a".parse().unwrap(), epoch: Epoch(9), volumes: BTreeMap::new() };
    let hold = Hold { term: Term(1), holder: Some(holder), ..Hold::default() };
    let of = HoldKey::Volume("vol-1".parse().unwrap());
    rig.registry().create(HoldRecord { of, hold }).await.unwrap();
    let (view, _task) = rig.start().await;
    assert_eq!(view.current().unwrap().epoch, Epoch(10));
}
