//! Rules of the pool beyond the port's contract.

use stead_model::Kind;
use stead_model::image::{BACKEND_KEY, DIRECT_IO_KEY, FS_TYPE};
use stead_model::name::Term;
use stead_model::port::{
    AdjustBackend, Attach, Progress, SnapshotBackend, SnapshotRequest, VolumeBackend, contract,
};

use super::super::{PROVISIONING, TOPOLOGY_NODE, TOPOLOGY_POOL};
use super::*;

async fn refusal(root: &Path, config: PoolConfig) -> String {
    let error = stead_model::Error::from(Pool::open(root, config).await.err().unwrap());
    assert_eq!(error.kind(), Kind::Precondition);
    error.to_string()
}

fn attach(volume: &VolumeId, node: &str, term: u64) -> Attach {
    Attach { volume: volume.clone(), node: node.parse().unwrap(), term: Term(term) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_pool_keeps_the_contract() {
    let dirs = std::sync::Mutex::new(Vec::new());
    contract::volume::all(async || {
        let dir = tempfile::tempdir().unwrap();
        let pool = Pool::open(dir.path(), shared()).await.unwrap();
        dirs.lock().unwrap().push(dir);
        subject(pool)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_becomes_a_pool_only_where_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("below/pool");
    assert!(refusal(&root, PoolConfig::default()).await.contains("belongs to one node"));
    let pool = open(&root).await;
    assert_eq!(pool.topology(), Parameters::from([(TOPOLOGY_NODE.into(), "node-a".into())]));
    assert_eq!(open(&root).await.mark(), pool.mark());
    assert!(refusal(&root, shared()).await.contains("made as a local pool"));
    let other = PoolConfig { node: Some("node-b".parse().unwrap()), ..local() };
    assert!(refusal(&root, other).await.contains("node 'node-a'"));
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("precious"), "").unwrap();
    assert!(refusal(&foreign, shared()).await.contains("'precious'"));
    std::fs::write(root.join("pool.json"), "{").unwrap();
    let error = stead_model::Error::from(Pool::open(&root, local()).await.err().unwrap());
    assert_eq!(error.kind(), Kind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_make_a_pool_at_once_make_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Pool::open(dir.path(), shared());
    let pools = futures::future::join_all((0..8).map(|_| open())).await;
    let ids: Vec<_> = pools.into_iter().map(|pool| pool.unwrap().topology()).collect();
    assert!(ids.iter().all(|id| *id == ids[0] && id.contains_key(TOPOLOGY_POOL)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_openers_of_one_pool_agree_on_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (open(dir.path()).await, open(dir.path()).await);
    for round in 0..20 {
        let volume = make(&a, &format!("vol-{round}"), 1).await;
        let (on_a, on_b) = (attach(&volume, "node-a", 1), attach(&volume, "node-b", 1));
        let (to_a, to_b) = tokio::join!(a.attach(&on_a), b.attach(&on_b));
        assert!(to_a.is_ok() != to_b.is_ok(), "{to_a:?} {to_b:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_is_told_how_to_read_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let pool = open(dir.path()).await;
    let volume = make(&pool, "vol-1", 1).await;
    let told = pool.attach(&attach(&volume, "node-a", 1)).await.unwrap();
    assert_eq!((told[BACKEND_KEY].as_str(), told[DIRECT_IO_KEY].as_str()), ("pool", "auto"));
    let off = Parameters::from([(DIRECT_IO.to_owned(), "off".to_owned())]);
    pool.modify(&volume, &off).await.unwrap();
    let told = pool.attach(&attach(&volume, "node-a", 1)).await.unwrap();
    assert_eq!(told[DIRECT_IO_KEY], "off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_is_checked_by_name_and_value() {
    let dir = tempfile::tempdir().unwrap();
    let pool = open(dir.path()).await;
    let volume = make(&pool, "vol-1", 1).await;
    let one = |key: &str, value: &str| Parameters::from([(key.to_owned(), value.to_owned())]);
    pool.check(&one(FS_TYPE, "xfs")).unwrap();
    let known = "the pool knows provisioning, fsType, directIo";
    assert!(pool.check(&one("iops", "1")).unwrap_err().to_string().ends_with(known));
    let error = pool.check(&one(PROVISIONING, "fat")).unwrap_err();
    assert_eq!(error.to_string(), "parameter 'provisioning' is 'fat': use one of thin, thick");
    let error = pool.modify(&volume, &one(FS_TYPE, "xfs")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("only directIo can change"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn thin_takes_no_space_and_thick_takes_all() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let pool = open(dir.path()).await;
    let used = |id: &VolumeId| std::fs::metadata(pool.layout().image(id)).unwrap().blocks() * 512;
    let thin = make(&pool, "vol-1", 16).await;
    let mut thick = request("vol-2", 16);
    thick.parameters.insert(PROVISIONING.to_owned(), "thick".to_owned());
    pool.create(&thick, &Progress::default()).await.unwrap();
    assert!(used(&thin) < 1 << 20);
    assert!(used(&thick.id) >= 16 << 20);
    pool.expand(&thick.id, Bytes(20 << 20)).await.unwrap();
    assert!(used(&thick.id) >= 20 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_stays_sparse() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let pool = open(dir.path()).await;
    let volume = make(&pool, "vol-1", 256).await;
    let images = Images(pool.clone());
    for at in [0, 100 << 20, (256 << 20) - 4096] {
        images.write(&volume, at, &[7; 4096]).await.unwrap();
    }
    let wanted = [SnapshotRequest { id: "snap-1".parse().unwrap(), volume }];
    let taken = pool.snapshot(&wanted, &Progress::default()).await.unwrap();
    assert_eq!(taken[0].size, Bytes(256 << 20));
    let image = pool.layout().snapshot(&taken[0].id).join("image");
    assert!(std::fs::metadata(image).unwrap().blocks() * 512 < 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_group_and_an_attached_volume_of_a_share_are_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(&dir.path().join("local")).await;
    let share = Pool::open(dir.path().join("share"), shared()).await.unwrap();
    for (pool, volumes) in [(&local, 2), (&share, 1)] {
        let mut requests = Vec::new();
        for at in 0..volumes {
            let volume = make(pool, &format!("vol-{at}"), 1).await;
            pool.attach(&attach(&volume, "node-a", 1)).await.unwrap();
            requests.push(SnapshotRequest { id: format!("snap-{at}").parse().unwrap(), volume });
        }
        let error = pool.snapshot(&requests, &Progress::default()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Precondition);
        assert!(error.to_string().contains("node-a"), "{error}");
        assert_eq!(pool.snapshots().await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn part_of_a_group_is_not_of_one_time() {
    let dir = tempfile::tempdir().unwrap();
    let pool = open(dir.path()).await;
    let volume = make(&pool, "vol-1", 1).await;
    let other = make(&pool, "vol-2", 1).await;
    let one = |at: &str, volume: &VolumeId| SnapshotRequest {
        id: at.parse().unwrap(),
        volume: volume.clone(),
    };
    let none = Progress::default();
    pool.snapshot(&[one("snap-1", &volume)], &none).await.unwrap();
    let group = [one("snap-1", &volume), one("snap-2", &other)];
    assert_eq!(pool.snapshot(&group, &none).await.unwrap_err().kind(), Kind::Precondition);
    let error = pool.snapshot(&[one("snap-1", &other)], &none).await.unwrap_err();
    assert_eq!(error.kind(), Kind::AlreadyExists);
}
