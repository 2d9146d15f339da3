//! The contract on real file systems, and what a full or read-only one comes to.
//!
//! Loop mounts need root; without it these tests say so and pass.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use stead_model::Kind;
use stead_model::name::Bytes;
use stead_model::port::{
    AdjustBackend, Attach, Progress, SnapshotBackend, SnapshotRequest, Source, VolumeBackend,
    VolumeRequest, contract,
};
use tempfile::TempDir;

use super::*;

/// A file system in a file, mounted; unmounted when it is dropped.
struct Disk {
    dir: TempDir,
}

impl Disk {
    fn new(kind: &str, mib: u64) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: a {kind} of its own needs root for the loop mount");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("disk");
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        std::fs::create_dir(dir.path().join("mount")).unwrap();
        let disk = Self { dir };
        let mut make = Command::new(format!("mkfs.{kind}"));
        if kind == "ext4" {
            make.args(["-m", "0"]); // Nothing kept for root, who runs this.
        }
        run(make.arg("-q").arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.root()));
        Some(disk)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("mount")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg(self.root()));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn keeps_the_contract(root: &Path) {
    let count = Mutex::new(0);
    contract::volume::all(async || {
        let at = {
            let mut count = count.lock().unwrap();
            *count += 1;
            *count
        };
        subject(open(&root.join(format!("pool-{at}"))).await)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_this_host_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    keeps_the_contract(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xfs_keeps_the_contract() {
    let Some(disk) = Disk::new("xfs", 320) else { return };
    keeps_the_contract(&disk.root()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn btrfs_keeps_the_contract() {
    let Some(disk) = Disk::new("btrfs", 320) else { return };
    keeps_the_contract(&disk.root()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_volume_is_cut_in_one_step_where_the_file_system_can() {
    for (kind, can) in [("xfs", true), ("btrfs", true), ("ext4", false)] {
        let Some(disk) = Disk::new(kind, 320) else { return };
        let pool = open(&disk.root().join("pool")).await;
        let volume = make(&pool, "vol-1", 8).await;
        let images = Images(pool.clone());
        images.write(&volume, 4096, b"then").await.unwrap();
        let node = "node-a".parse().unwrap();
        let attach = Attach { volume: volume.clone(), node, term: Default::default() };
        pool.attach(&attach).await.unwrap();
        let wanted = [SnapshotRequest { id: "snap-1".parse().unwrap(), volume: volume.clone() }];
        let taken = pool.snapshot(&wanted, &Progress::default()).await;
        let clone = VolumeRequest { source: Some(Source::Volume(volume)), ..request("vol-2", 8) };
        let cloned = pool.create(&clone, &Progress::default()).await;
        assert_eq!((taken.is_ok(), cloned.is_ok()), (can, can), "{kind}");
        if can {
            assert_eq!(images.read(&clone.id, 4096, 4).await.unwrap(), b"then");
            continue;
        }
        for error in [taken.unwrap_err(), cloned.unwrap_err()] {
            assert_eq!(error.kind(), Kind::Precondition);
            assert!(error.to_string().contains("unpublish it first"), "{error}");
        }
        assert_eq!(pool.snapshots().await.unwrap(), []);
        assert_eq!(pool.list(None, 9).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_leaves_nothing_behind() {
    let Some(disk) = Disk::new("ext4", 64) else { return };
    let pool = open(&disk.root()).await;
    let none = Progress::default();
    let refused = |result: stead_model::Result<Bytes>| result.unwrap_err().kind();
    assert_eq!(refused(pool.create(&request("vol-1", 1000), &none).await), Kind::OutOfRange);
    let thick = |text: &str, mib| {
        let mut thick = request(text, mib);
        thick.parameters.insert(super::super::PROVISIONING.to_owned(), "thick".to_owned());
        thick
    };
    pool.create(&thick("vol-1", 20), &none).await.unwrap();
    assert_eq!(refused(pool.create(&request("vol-2", 40), &none).await), Kind::Exhausted);
    // It fits at first sight and not any more with the metadata: the reservation itself fails.
    let left = pool.capacity().await.unwrap().available;
    let all = VolumeRequest { size: left, ..thick("vol-2", 0) };
    assert_eq!(refused(pool.create(&all, &none).await), Kind::Exhausted);
    let volume = "vol-1".parse().unwrap();
    let larger = Bytes((20 << 20) + left.0 + 4096);
    assert_eq!(refused(pool.expand(&volume, larger).await), Kind::Exhausted);
    let volumes = pool.list(None, 9).await.unwrap();
    assert_eq!(volumes.iter().map(|one| one.size).collect::<Vec<_>>(), [Bytes(20 << 20)]);
    assert_eq!(std::fs::read_dir(pool.layout().volumes()).unwrap().count(), 1);
    assert!(pool.capacity().await.unwrap().available.0 + (1 << 20) > left.0, "the space came back");
    // A copy that does not fit gives its space back too.
    let images = Images(pool.clone());
    images.write(&volume, 0, &vec![1; 20 << 20]).await.unwrap();
    make(&pool, "vol-2", 10).await;
    images.write(&"vol-2".parse().unwrap(), 0, &vec![1; 10 << 20]).await.unwrap();
    let wanted = [SnapshotRequest { id: "snap-1".parse().unwrap(), volume: volume.clone() }];
    let taken = pool.snapshot(&wanted, &none).await;
    let again = [SnapshotRequest { id: "snap-2".parse().unwrap(), volume }];
    let errors: Vec<_> = [taken, pool.snapshot(&again, &none).await]
        .into_iter()
        .filter_map(|taken| taken.err())
        .collect();
    assert!(errors.iter().all(|error| error.kind() == Kind::Exhausted), "{errors:?}");
    assert!(!errors.is_empty());
    let whole = pool.snapshots().await.unwrap().len();
    assert_eq!(std::fs::read_dir(pool.layout().snapshots()).unwrap().count(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_cannot_be_written_is_refused() {
    let Some(disk) = Disk::new("ext4", 64) else { return };
    drop(open(&disk.root()).await);
    run(Command::new("mount").args(["-o", "remount,ro"]).arg(disk.root()));
    let error = Pool::open(disk.root(), local()).await.err().unwrap();
    let error = stead_model::Error::from(error);
    assert_eq!(error.kind(), Kind::Precondition);
    assert!(error.to_string().contains("make it writable"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_is_not_mounted_is_noticed() {
    let state = tempfile::tempdir().unwrap();
    let config = || PoolConfig { memory: Some(state.path().join("pool.json")), ..shared() };
    let Some(disk) = Disk::new("ext4", 64) else { return };
    let first = Pool::open(disk.root(), config()).await.unwrap();
    let id = first.mark().id.clone();
    drop(first);
    run(Command::new("umount").arg(disk.root()));
    let error = Pool::open(disk.root(), config()).await.err().unwrap();
    assert!(error.to_string().contains("mount it there"), "{error}");
    assert_eq!(std::fs::read_dir(disk.root()).unwrap().count(), 0);
    let image = disk.dir.path().join("disk");
    run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.root()));
    assert_eq!(Pool::open(disk.root(), config()).await.unwrap().mark().id, id);
}
