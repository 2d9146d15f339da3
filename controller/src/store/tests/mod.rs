//! Tests of the embedded store.

mod crash;
mod disk;
mod remote;

use std::sync::Mutex;

use bytes::Bytes;
use futures::StreamExt;
use stead_model::Kind;
use stead_model::port::{IdentityStore, Page, contract};

use super::EmbeddedStore;

async fn open(dir: &std::path::Path) -> EmbeddedStore {
    EmbeddedStore::open(dir).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_keeps_the_contract() {
    let dirs = Mutex::new(Vec::new());
    contract::store::all(async || {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await;
        dirs.lock().unwrap().push(dir);
        store
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    contract::store::all(async || EmbeddedStore::in_memory().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_and_revisions_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, gone) = ("a/1".parse().unwrap(), "a/2".parse().unwrap());
    let store = open(dir.path()).await;
    let first = store.create(&kept, Bytes::from_static(b"x")).await.unwrap();
    let second = store.create(&gone, Bytes::new()).await.unwrap();
    store.delete(&gone, second).await.unwrap();
    drop(store);
    let store = open(dir.path()).await;
    assert_eq!(store.get(&kept).await.unwrap().unwrap().revision, first);
    assert!(store.create(&gone, Bytes::new()).await.unwrap() > second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_opener_is_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path()).await;
    let error = EmbeddedStore::open(dir.path()).await.err().unwrap();
    let error = stead_model::Error::from(error);
    assert_eq!(error.kind(), Kind::Precondition);
    let path = dir.path().join("identity.redb");
    let expected = format!(
        "the store '{}' is in use by another process: stop it, or give this one another --state-dir",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.redb");
    let store = open(dir.path()).await;
    for at in 0..50 {
        let key = format!("a/{at}").parse().unwrap();
        store.create(&key, Bytes::from(vec![7; 3000])).await.unwrap();
    }
    drop(store);
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    for at in (8192..flipped.len()).step_by(512) {
        flipped[at] ^= 0x55;
    }
    let text = b"this was never a database, but somebody put it here".repeat(100);
    for bad in [flipped, good[..good.len() / 3].to_vec(), text] {
        std::fs::write(&path, &bad).unwrap();
        let error = stead_model::Error::from(EmbeddedStore::open(dir.path()).await.err().unwrap());
        assert_eq!(error.kind(), Kind::Corrupt, "{}", error.chain());
        assert!(error.to_string().contains("restore a backup"), "{error}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), bad.len() as u64);
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(open(dir.path()).await.list("a/", Page::default()).await.unwrap().len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_falls_behind_is_told_once() {
    let store = EmbeddedStore::in_memory().unwrap();
    let mut changes = store.watch("").await.unwrap();
    let key = "a".parse().unwrap();
    let mut at = store.create(&key, Bytes::new()).await.unwrap();
    for _ in 0..5000 {
        at = store.update(&key, Bytes::new(), at).await.unwrap();
    }
    assert_eq!(changes.next().await.unwrap().unwrap_err().kind(), Kind::Unavailable);
    assert!(changes.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_store() {
    let store = EmbeddedStore::in_memory().unwrap();
    let mut changes = store.watch("").await.unwrap();
    drop(store);
    assert_eq!(changes.next().await.unwrap().unwrap_err().kind(), Kind::Unavailable);
    assert!(changes.next().await.is_none());
}
