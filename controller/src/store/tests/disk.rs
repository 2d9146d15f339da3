//! What a full or read-only disk comes to, and what many writes cost.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use stead_model::port::{IdentityStore, Key, VALUE_BYTES_MAX};
use stead_model::{Error, Kind};
use tempfile::TempDir;

use super::super::EmbeddedStore;
use super::open;

/// A small file system in memory, mounted where root may.
struct Small(TempDir);

impl Small {
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: a small file system needs root for the mount");
            return None;
        }
        let small = Self(tempfile::tempdir().unwrap());
        let mount = ["-t", "tmpfs", "-o", "size=4m", "none"];
        run(Command::new("mount").args(mount).arg(small.0.path()));
        Some(small)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run(Command::new("umount").arg(self.0.path()));
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn key(at: usize) -> Key {
    format!("a/{at}").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_loses_nothing_and_recovers() {
    let Some(small) = Small::new() else { return };
    let ballast: PathBuf = small.0.path().join("ballast");
    let store = open(small.0.path()).await;
    store.create(&key(0), Bytes::from_static(b"kept")).await.unwrap();
    let _ = std::fs::write(&ballast, vec![0; 8 << 20]); // It ends where the disk is full.
    let long = Bytes::from(vec![7; VALUE_BYTES_MAX]);
    let mut stored = 0;
    let error = loop {
        match store.create(&key(stored + 1), long.clone()).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), Kind::Exhausted, "{}", error.chain());
    assert!(error.to_string().contains("no space left"), "{error}");
    assert_eq!(store.get(&key(0)).await.unwrap().unwrap().value, "kept");
    let again = store.create(&key(stored + 1), long.clone()).await.unwrap_err();
    assert_eq!(again.kind(), Kind::Exhausted, "{}", again.chain());
    std::fs::remove_file(&ballast).unwrap();
    store.create(&key(stored + 1), long.clone()).await.unwrap();
    drop(store);
    let store = open(small.0.path()).await;
    for at in 1..=stored + 1 {
        assert_eq!(store.get(&key(at)).await.unwrap().unwrap().value, long);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_written_is_named() {
    let Some(small) = Small::new() else { return };
    drop(open(small.0.path()).await);
    run(Command::new("mount").args(["-o", "remount,ro"]).arg(small.0.path()));
    for dir in [small.0.path().to_owned(), small.0.path().join("new")] {
        let error = Error::from(EmbeddedStore::open(&dir).await.err().unwrap());
        assert_eq!(error.kind(), Kind::Precondition, "{}", error.chain());
        assert!(error.to_string().contains("make its directory writable"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_writes_at_once_share_their_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()).await);
    let begun = tokio::time::Instant::now();
    let value = Bytes::from(vec![b'x'; 600]);
    let writes = (0..1000).map(|at| {
        let (store, value) = (store.clone(), value.clone());
        tokio::spawn(async move { store.create(&key(at), value).await })
    });
    for write in join_all(writes).await {
        write.unwrap().unwrap();
    }
    println!("1000 writes took {:?}", begun.elapsed());
    let file = std::fs::metadata(store.path()).unwrap().len();
    println!("the file has {file} bytes");
}
