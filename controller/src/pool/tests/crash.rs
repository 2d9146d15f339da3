//! What a crash leaves behind, and what is given up on the way.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use stead_model::Kind;
use stead_model::port::{
    Attach, Progress, SnapshotBackend, SnapshotRequest, Source, VolumeBackend, VolumeRequest,
};

use super::super::files::{Draft, LOCK, Mode, NEW, TRASH, try_lock};
use super::*;

fn entries(path: &Path) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_do_not_count_and_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    let pool = open(dir.path()).await;
    make(&pool, "vol-1", 1).await;
    let (volumes, snapshots) = (pool.layout().volumes(), pool.layout().snapshots());
    for parent in [&volumes, &snapshots] {
        for name in [format!("{NEW}1"), format!("{TRASH}1")] {
            let left = parent.join(name);
            std::fs::create_dir(&left).unwrap();
            std::fs::write(left.join("image"), "half").unwrap();
            std::fs::write(left.join(LOCK), "").unwrap();
        }
    }
    assert_eq!(pool.list(None, 9).await.unwrap().len(), 1);
    assert_eq!(pool.snapshots().await.unwrap(), []);
    let filled_now = Draft::new(&volumes).unwrap();
    drop(pool);
    let pool = open(dir.path()).await;
    assert_eq!((entries(&volumes), entries(&snapshots)), (2, 0));
    drop(filled_now);
    assert_eq!(entries(&volumes), 1);
    assert_eq!(pool.list(None, 9).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decided_group_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let pool = open(dir.path()).await;
    let requests = ["1", "2"].map(|at| SnapshotRequest {
        id: format!("snap-{at}").parse().unwrap(),
        volume: format!("vol-{at}").parse().unwrap(),
    });
    for at in ["vol-1", "vol-2"] {
        make(&pool, at, 1).await;
    }
    let taken = pool.snapshot(&requests, &Progress::default()).await.unwrap();
    // As a crash between the two renames leaves it: decided, and one of two has its name.
    let group = pool.layout().snapshots().join(".group-1");
    std::fs::create_dir(&group).unwrap();
    std::fs::write(group.join(LOCK), "").unwrap();
    std::fs::rename(pool.layout().snapshot(&requests[1].id), group.join("snap-2")).unwrap();
    assert_eq!(pool.snapshots().await.unwrap().len(), 1);
    let reopened = open(dir.path()).await;
    assert_eq!(reopened.snapshots().await.unwrap(), taken);
    // Without a restart the repeat of the call completes it.
    std::fs::create_dir(&group).unwrap();
    std::fs::rename(pool.layout().snapshot(&requests[0].id), group.join("snap-1")).unwrap();
    assert_eq!(pool.snapshot(&requests, &Progress::default()).await.unwrap(), taken);
    assert_eq!(entries(&pool.layout().snapshots()), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_group_taken_twice_at_once_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let pool = open(dir.path()).await;
    // Asked for against the order of the volumes.
    let requests = ["2", "1"].map(|at| SnapshotRequest {
        id: format!("snap-{at}").parse().unwrap(),
        volume: format!("vol-{at}").parse().unwrap(),
    });
    for at in ["vol-1", "vol-2"] {
        make(&pool, at, 1).await;
    }
    let progress = Progress::default();
    let calls = (0..8).map(|_| pool.snapshot(&requests, &progress));
    for taken in futures::future::join_all(calls).await {
        let ids: Vec<_> = taken.unwrap().into_iter().map(|one| one.id).collect();
        assert_eq!(ids, [requests[0].id.clone(), requests[1].id.clone()]);
    }
    assert_eq!(entries(&pool.layout().snapshots()), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_nobody_waits_for_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let pool = open(dir.path()).await;
    let source = make(&pool, "vol-1", 512).await;
    let image = std::fs::File::options().write(true).open(pool.layout().image(&source)).unwrap();
    let block = vec![1; 1 << 20];
    for at in 0..128 {
        image.write_all_at(&block, at * (4 << 20)).unwrap();
    }
    let clone = VolumeRequest { source: Some(Source::Volume(source)), ..request("vol-2", 512) };
    let progress = Progress::default();
    tokio::select! {
        biased;
        made = pool.create(&clone, &progress) => panic!("made before it was given up: {made:?}"),
        () = async { while progress.read().0.0 == 0 { tokio::task::yield_now().await } } => {}
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while entries(&pool.layout().volumes()) > 1 {
        assert!(tokio::time::Instant::now() < deadline, "the draft is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(pool.list(None, 9).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_not_attached_while_it_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let pool = open(dir.path()).await;
    let volume = make(&pool, "vol-1", 1).await;
    let copying = try_lock(&pool.layout().lock(&volume), Mode::Shared).unwrap().unwrap();
    let attach =
        Attach { volume, node: "node-a".parse().unwrap(), term: stead_model::name::Term(1) };
    assert_eq!(pool.attach(&attach).await.unwrap_err().kind(), Kind::Busy);
    let (attached, ()) = tokio::join!(pool.attach(&attach), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(copying);
    });
    attached.unwrap();
}
