//! What every [`IdentityStore`] has to pass.
#![allow(clippy::unwrap_used, clippy::panic)] // A contract is a test: its failure is a panic.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;

use super::{Change, Changes, Entry, IdentityStore, Key, PAGE_ENTRIES_MAX, Page, VALUE_BYTES_MAX};
use crate::Kind;

/// How long a change may take to reach a watch.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs every clause, each on an empty store of its own.
pub async fn all<S: IdentityStore>(fresh: impl AsyncFn() -> S) {
    a_key_is_created_once(&fresh().await).await;
    an_update_needs_the_revision(&fresh().await).await;
    a_deletion_needs_the_revision_and_may_be_repeated(&fresh().await).await;
    a_revision_is_never_given_twice(&fresh().await).await;
    a_listing_is_in_order_and_within_its_prefix(&fresh().await).await;
    a_listing_goes_on_behind_a_key_that_is_gone(&fresh().await).await;
    a_page_has_a_maximum(&fresh().await).await;
    racing_creators_have_one_winner(&fresh().await).await;
    racing_increments_lose_nothing(&fresh().await).await;
    values_of_every_size_survive(&fresh().await).await;
    keys_may_hold_any_text(&fresh().await).await;
    a_watch_tells_every_change_in_order(&fresh().await).await;
    a_watch_is_of_its_prefix_only(&fresh().await).await;
    a_large_listing_arrives_whole(&fresh().await).await;
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.key.as_str()).collect()
}

fn page(after: &str, limit: usize) -> Page {
    Page { after: Some(key(after)), limit }
}

async fn next(changes: &mut Changes) -> Change {
    tokio::time::timeout(PATIENCE, changes.next()).await.unwrap().unwrap().unwrap()
}

/// A second creation of a key has no effect.
pub async fn a_key_is_created_once<S: IdentityStore>(store: &S) {
    let key = key("a/1");
    assert_eq!(store.get(&key).await.unwrap(), None);
    let revision = store.create(&key, value("one")).await.unwrap();
    let error = store.create(&key, value("two")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::AlreadyExists);
    let entry = Entry { key: key.clone(), value: value("one"), revision };
    assert_eq!(store.get(&key).await.unwrap(), Some(entry));
}

/// An update of another revision, or of a key that is absent, has no effect.
pub async fn an_update_needs_the_revision<S: IdentityStore>(store: &S) {
    let key = key("a/1");
    let first = store.create(&key, value("one")).await.unwrap();
    let second = store.update(&key, value("two"), first).await.unwrap();
    assert!(second > first);
    let error = store.update(&key, value("three"), first).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    let entry = Entry { key: key.clone(), value: value("two"), revision: second };
    assert_eq!(store.get(&key).await.unwrap(), Some(entry));
    let absent = "a/2".parse().unwrap();
    let error = store.update(&absent, value("x"), second).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert_eq!(store.get(&absent).await.unwrap(), None);
}

/// Only the known revision can be deleted; a repeat succeeds.
pub async fn a_deletion_needs_the_revision_and_may_be_repeated<S: IdentityStore>(store: &S) {
    let key = key("a/1");
    let first = store.create(&key, value("one")).await.unwrap();
    let second = store.update(&key, value("two"), first).await.unwrap();
    assert_eq!(store.delete(&key, first).await.unwrap_err().kind(), Kind::Conflict);
    assert!(store.get(&key).await.unwrap().is_some());
    store.delete(&key, second).await.unwrap();
    store.delete(&key, second).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), None);
}

/// What was read before a deletion cannot change what was created after it.
pub async fn a_revision_is_never_given_twice<S: IdentityStore>(store: &S) {
    let key = key("a/1");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let revision = store.create(&key, value("one")).await.unwrap();
        assert!(seen.insert(revision));
        let updated = store.update(&key, value("one"), revision).await.unwrap();
        assert!(seen.insert(updated));
        assert_eq!(seen.last(), Some(&updated));
        store.delete(&key, updated).await.unwrap();
        let error = store.update(&key, value("late"), updated).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
    }
    store.create(&key, value("new")).await.unwrap();
    for old in seen {
        assert_eq!(store.delete(&key, old).await.unwrap_err().kind(), Kind::Conflict);
    }
}

/// Keys sort by their bytes, and a prefix is text, not a path.
pub async fn a_listing_is_in_order_and_within_its_prefix<S: IdentityStore>(store: &S) {
    let sorted = ["a", "a/", "a/1", "a/10", "a/1/x", "a/2", "a1", "a10", "a\u{e9}", "b"];
    let mut sorted: Vec<&str> = sorted.to_vec();
    for text in sorted.iter().rev() {
        store.create(&key(text), value(text)).await.unwrap();
    }
    sorted.sort_unstable();
    let list = async |prefix: &str| store.list(prefix, Page::default()).await.unwrap();
    assert_eq!(names(&list("").await), sorted);
    for prefix in ["a", "a/", "a/1", "a1", "a10", "b", "c", "a/1/"] {
        let expected: Vec<_> = sorted.iter().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(names(&list(prefix).await).iter().collect::<Vec<_>>(), expected, "{prefix}");
    }
    for entry in list("a").await {
        assert_eq!(entry.value, value(entry.key.as_str()));
    }
}

/// `after` need not exist, may lie before the prefix and may lie behind it.
pub async fn a_listing_goes_on_behind_a_key_that_is_gone<S: IdentityStore>(store: &S) {
    for at in 0..10 {
        store.create(&key(&format!("a/{at}")), value("")).await.unwrap();
    }
    let mut walked = Vec::new();
    let mut page = Page { after: None, limit: 3 };
    loop {
        let entries = store.list("a/", page.clone()).await.unwrap();
        walked.extend(entries.iter().map(|entry| entry.key.to_string()));
        let Some(last) = entries.last().filter(|_| entries.len() == 3) else { break };
        store.delete(&last.key, last.revision).await.unwrap();
        page.after = Some(last.key.clone());
    }
    let all: Vec<String> = (0..10).map(|at| format!("a/{at}")).collect();
    assert_eq!(walked, all);
    let entries = store.list("a/", self::page("A", 2)).await.unwrap();
    assert_eq!(names(&entries), ["a/0", "a/1"]);
    assert_eq!(store.list("a/", self::page("b", 2)).await.unwrap(), []);
    assert_eq!(store.list("a/", self::page("a/9", 2)).await.unwrap(), []);
}

/// A page is never longer than the maximum, whatever was asked for.
pub async fn a_page_has_a_maximum<S: IdentityStore>(store: &S) {
    let create = async |at: usize| {
        store.create(&key(&format!("a/{at:05}")), value("x")).await.unwrap();
    };
    join_all((0..=PAGE_ENTRIES_MAX).map(create)).await;
    for limit in [0, PAGE_ENTRIES_MAX + 1, usize::MAX] {
        let entries = store.list("a/", Page { after: None, limit }).await.unwrap();
        assert_eq!(entries.len(), PAGE_ENTRIES_MAX);
        let after = entries.last().map(|entry| entry.key.clone());
        assert_eq!(store.list("a/", Page { after, limit }).await.unwrap().len(), 1);
    }
}

/// Of many that create one key, one succeeds.
pub async fn racing_creators_have_one_winner<S: IdentityStore>(store: &S) {
    let key = key("a/1");
    let create = async |at: usize| store.create(&key, value(&at.to_string())).await;
    let results = join_all((0..16).map(create)).await;
    let winners: Vec<_> = results.iter().enumerate().filter(|(_, won)| won.is_ok()).collect();
    let [(winner, _)] = winners.as_slice() else { panic!("{} winners", winners.len()) };
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(error.kind(), Kind::AlreadyExists);
    }
    assert_eq!(store.get(&key).await.unwrap().unwrap().value, value(&winner.to_string()));
}

/// A counter that many increment by compare-and-swap ends at the number of increments.
pub async fn racing_increments_lose_nothing<S: IdentityStore>(store: &S) {
    let key = key("counter");
    store.create(&key, value("0")).await.unwrap();
    let increment = async |_: usize| {
        for _ in 0..5 {
            loop {
                let entry = store.get(&key).await.unwrap().unwrap();
                let count: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                let next = value(&(count + 1).to_string());
                match store.update(&key, next, entry.revision).await {
                    Ok(_) => break,
                    Err(error) => assert_eq!(error.kind(), Kind::Conflict),
                }
            }
        }
    };
    join_all((0..8).map(increment)).await;
    assert_eq!(store.get(&key).await.unwrap().unwrap().value, value("40"));
}

/// An empty value is a value; the longest one is kept, a longer one is refused.
pub async fn values_of_every_size_survive<S: IdentityStore>(store: &S) {
    for (at, length) in [0, 1, 4096, VALUE_BYTES_MAX].into_iter().enumerate() {
        let key = key(&format!("a/{at}"));
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        store.create(&key, bytes.clone().into()).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap().unwrap().value, bytes);
        assert_eq!(store.list(key.as_str(), Page::default()).await.unwrap()[0].value, bytes);
    }
    let long = Bytes::from(vec![1; VALUE_BYTES_MAX + 1]);
    let error = store.create(&key("long"), long.clone()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert_eq!(store.get(&key("long")).await.unwrap(), None);
    let entry = store.get(&key("a/1")).await.unwrap().unwrap();
    let error = store.update(&entry.key, long, entry.revision).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert_eq!(store.get(&entry.key).await.unwrap(), Some(entry));
}

/// A key is any text of at most its length.
pub async fn keys_may_hold_any_text<S: IdentityStore>(store: &S) {
    let longest = "k".repeat(1024);
    let texts = ["volume/\u{1F980}", "n\u{e4}me/a b", "a//b", "/", "\u{10FFFF}", "%2f", &longest];
    for text in texts {
        let revision = store.create(&key(text), value(text)).await.unwrap();
        let entry = Entry { key: key(text), value: value(text), revision };
        assert_eq!(store.get(&key(text)).await.unwrap(), Some(entry.clone()), "{text}");
        assert_eq!(store.list(text, Page::default()).await.unwrap()[0], entry, "{text}");
    }
}

/// A watch misses nothing that was committed after it began, and tells it in order.
pub async fn a_watch_tells_every_change_in_order<S: IdentityStore>(store: &S) {
    let key = key("a/1");
    let mut changes = store.watch("a/").await.unwrap();
    let first = store.create(&key, value("0")).await.unwrap();
    let entry = |text: &str, revision| Entry { key: key.clone(), value: value(text), revision };
    assert_eq!(next(&mut changes).await, Change::Put(entry("0", first)));
    let mut last = first;
    for at in 1..=100 {
        last = store.update(&key, value(&at.to_string()), last).await.unwrap();
    }
    store.delete(&key, last).await.unwrap();
    store.delete(&key, last).await.unwrap(); // It changes nothing, so nothing is told.
    let again = store.create(&key, value("new")).await.unwrap();
    for at in 1..=100 {
        let Change::Put(entry) = next(&mut changes).await else { panic!("told too early") };
        assert_eq!(entry.value, value(&at.to_string()));
    }
    assert_eq!(next(&mut changes).await, Change::Deleted(key.clone()));
    assert_eq!(next(&mut changes).await, Change::Put(entry("new", again)));
}

/// A watch tells nothing of other keys, and two watches do not take from each other.
pub async fn a_watch_is_of_its_prefix_only<S: IdentityStore>(store: &S) {
    let mut narrow = store.watch("a/1").await.unwrap();
    let mut wide = store.watch("").await.unwrap();
    let texts = ["a/2", "b", "a/1", "a1", "a/10"];
    for text in texts {
        store.create(&key(text), value(text)).await.unwrap();
    }
    for text in texts {
        assert_eq!(*next(&mut wide).await.key(), key(text));
    }
    assert_eq!(*next(&mut narrow).await.key(), key("a/1"));
    assert_eq!(*next(&mut narrow).await.key(), key("a/10"));
}

/// A page of long values is not cut short.
pub async fn a_large_listing_arrives_whole<S: IdentityStore>(store: &S) {
    let long = Bytes::from(vec![7; VALUE_BYTES_MAX]);
    for at in 0..24 {
        store.create(&key(&format!("a/{at:02}")), long.clone()).await.unwrap();
    }
    let entries = store.list("a/", Page { after: None, limit: 23 }).await.unwrap();
    assert_eq!(entries.len(), 23);
    assert!(entries.iter().all(|entry| entry.value == long));
}
