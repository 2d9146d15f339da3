//! What every back end with all capabilities has to pass.
#![allow(clippy::unwrap_used)] // A contract is a test: its failure is a panic.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::future::join_all;

use super::{
    Attach, FenceStrength, Progress, SnapshotRequest, Source, VolumeBackend, VolumeRequest, Volumes,
};
use crate::name::{Bytes, NodeId, SnapshotId, Term, VolumeId};
use crate::{Kind, Result};

/// How a test looks into a volume: the port itself never does.
#[async_trait]
pub trait ContentProbe: Send + Sync {
    /// Writes into a volume, as the node that has it attached would.
    async fn write(&self, volume: &VolumeId, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Reads from a volume.
    async fn read(&self, volume: &VolumeId, offset: u64, length: usize) -> Result<Vec<u8>>;

    /// The value that a parameter of a volume has now.
    async fn parameter(&self, volume: &VolumeId, key: &str) -> Option<String>;

    /// A mutable parameter that the back end knows, and two values of it.
    fn mutable(&self) -> (&'static str, [&'static str; 2]);
}

/// A back end under test, and the look into it.
#[derive(Debug)]
pub struct Subject<B, P> {
    /// The back end, without volumes.
    pub backend: B,
    /// The look into it.
    pub probe: P,
}

/// Runs every clause, each on an empty back end of its own.
pub async fn all<B: Volumes, P: ContentProbe>(fresh: impl AsyncFn() -> Subject<B, P>) {
    creating_may_be_repeated(&fresh().await).await;
    a_size_is_never_less_than_asked(&fresh().await).await;
    a_new_volume_is_blank(&fresh().await).await;
    deleting_what_is_absent_succeeds(&fresh().await).await;
    what_is_absent_cannot_be_used(&fresh().await).await;
    one_node_at_a_time(&fresh().await).await;
    racing_nodes_have_one_winner(&fresh().await).await;
    a_term_never_goes_down(&fresh().await).await;
    a_fence_makes_way_for_the_next_holder(&fresh().await).await;
    a_stranger_detaches_nothing(&fresh().await).await;
    an_attached_volume_is_not_deleted(&fresh().await).await;
    a_clone_has_the_content_and_its_own_life(&fresh().await).await;
    a_restore_has_the_content_of_the_cut(&fresh().await).await;
    a_missing_source_is_named(&fresh().await).await;
    a_group_is_taken_whole_or_not_at_all(&fresh().await).await;
    growing_keeps_the_content_and_never_shrinks(&fresh().await).await;
    a_change_is_made_whole_or_not_at_all(&fresh().await).await;
    a_listing_is_in_order_and_pages(&fresh().await).await;
    the_room_is_told(&fresh().await).await;
}

const SIZE: Bytes = Bytes(4 << 20);

fn id(text: &str) -> VolumeId {
    text.parse().unwrap()
}

fn node(text: &str) -> NodeId {
    text.parse().unwrap()
}

fn snap(text: &str) -> SnapshotId {
    text.parse().unwrap()
}

fn request(text: &str, size: Bytes, source: Option<Source>) -> VolumeRequest {
    VolumeRequest { id: id(text), size, source, parameters: BTreeMap::new() }
}

async fn make<B: VolumeBackend>(backend: &B, text: &str) -> VolumeId {
    let made = backend.create(&request(text, SIZE, None), &Progress::default()).await.unwrap();
    assert_eq!(made, SIZE);
    id(text)
}

fn attach(volume: &VolumeId, to: &str, term: u64) -> Attach {
    Attach { volume: volume.clone(), node: node(to), term: Term(term) }
}

async fn attached<B: VolumeBackend>(backend: &B, volume: &VolumeId) -> Option<(NodeId, Term)> {
    let volumes = backend.list(None, usize::MAX).await.unwrap();
    volumes.into_iter().find(|one| one.id == *volume).unwrap().attached
}

async fn cut<B: Volumes>(backend: &B, pairs: &[(&str, &str)]) -> Result<Vec<super::TakenSnapshot>> {
    let request = |(at, of): &(&str, &str)| SnapshotRequest { id: snap(at), volume: id(of) };
    let requests: Vec<_> = pairs.iter().map(request).collect();
    backend.snapshot(&requests, &Progress::default()).await
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> Kind {
    result.unwrap_err().kind()
}

/// The same id again is the same volume; another size is refused and changes nothing.
pub async fn creating_may_be_repeated<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    let volume = make(&on.backend, "vol-1").await;
    on.probe.write(&volume, 0, b"kept").await.unwrap();
    make(&on.backend, "vol-1").await;
    let larger = request("vol-1", Bytes(SIZE.0 * 2), None);
    assert_eq!(kind(on.backend.create(&larger, &Progress::default()).await), Kind::AlreadyExists);
    assert_eq!(on.probe.read(&volume, 0, 4).await.unwrap(), b"kept");
    let volumes = on.backend.list(None, 10).await.unwrap();
    assert_eq!(volumes.iter().map(|one| one.size).collect::<Vec<_>>(), [SIZE]);
}

/// An odd size is rounded up, and one that cannot ever fit is refused without a trace.
pub async fn a_size_is_never_less_than_asked<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    let odd = request("vol-odd", Bytes(SIZE.0 + 1), None);
    let made = on.backend.create(&odd, &Progress::default()).await.unwrap();
    assert!(made > SIZE);
    assert_eq!(on.backend.create(&odd, &Progress::default()).await.unwrap(), made);
    for size in [u64::MAX, 1 << 62] {
        let huge = request("vol-huge", Bytes(size), None);
        assert_eq!(kind(on.backend.create(&huge, &Progress::default()).await), Kind::OutOfRange);
    }
    assert_eq!(on.backend.list(None, 10).await.unwrap().len(), 1);
}

/// Every byte of it is zero.
pub async fn a_new_volume_is_blank<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    let volume = make(&on.backend, "vol-1").await;
    let content = on.probe.read(&volume, 0, SIZE.0 as usize).await.unwrap();
    assert!(content.iter().all(|byte| *byte == 0));
}

/// What is gone, or never was, is deleted and detached already.
pub async fn deleting_what_is_absent_succeeds<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    for text in ["vol-absent", "fake-vol-id-0123456789", "../escape", "..", "a/b"] {
        on.backend.delete(&id(text)).await.unwrap();
        on.backend.detach(&id(text), &node("a")).await.unwrap();
        on.backend.delete_snapshot(&snap(text)).await.unwrap();
    }
    let volume = make(&on.backend, "vol-1").await;
    on.backend.delete(&volume).await.unwrap();
    on.backend.delete(&volume).await.unwrap();
    assert_eq!(on.backend.list(None, 10).await.unwrap(), []);
}

/// Everything but deleting says that it is not there.
pub async fn what_is_absent_cannot_be_used<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    for text in ["vol-absent", "../escape", "a/b"] {
        let volume = id(text);
        assert_eq!(kind(on.backend.attach(&attach(&volume, "a", 1)).await), Kind::NotFound);
        assert_eq!(kind(on.backend.fence(&volume, Term(1)).await), Kind::NotFound);
        assert_eq!(kind(on.backend.expand(&volume, SIZE).await), Kind::NotFound);
        let (key, [value, _]) = on.probe.mutable();
        let change = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert_eq!(kind(on.backend.modify(&volume, &change).await), Kind::NotFound);
    }
}

/// A second node is refused and told who has it; the first may repeat.
pub async fn one_node_at_a_time<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    let volume = make(&on.backend, "vol-1").await;
    let first = on.backend.attach(&attach(&volume, "node-a", 1)).await.unwrap();
    assert_eq!(on.backend.attach(&attach(&volume, "node-a", 1)).await.unwrap(), first);
    for term in [1, 2] {
        let error = on.backend.attach(&attach(&volume, "node-b", term)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Precondition);
        assert!(error.to_string().contains("node-a"), "{error}");
    }
    assert_eq!(attached(&on.backend, &volume).await, Some((node("node-a"), Term(1))));
    on.backend.detach(&volume, &node("node-a")).await.unwrap();
    assert_eq!(attached(&on.backend, &volume).await, None);
    on.backend.attach(&attach(&volume, "node-b", 2)).await.unwrap();
    assert_eq!(attached(&on.backend, &volume).await, Some((node("node-b"), Term(2))));
}

/// Of many nodes that attach one volume at once, one succeeds.
pub async fn racing_nodes_have_one_winner<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    let volume = make(&on.backend, "vol-1").await;
    let requests: Vec<_> = (0..8).map(|at| attach(&volume, &format!("node-{at}"), 1)).collect();
    let results = join_all(requests.iter().map(|request| on.backend.attach(request))).await;
    let winners: Vec<_> = (0..8).filter(|at| results[*at].is_ok()).collect();
    assert_eq!(winners.len(), 1);
    let (holder, _) = attached(&on.backend, &volume).await.unwrap();
    assert_eq!(holder, requests[winners[0]].node);
}

/// A term below the last one is refused, even while nobody has the volume.
pub async fn a_term_never_goes_down<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    let volume = make(&on.backend, "vol-1").await;
    on.backend.attach(&attach(&volume, "a", 3)).await.unwrap();
    assert_eq!(kind(on.backend.attach(&attach(&volume, "a", 2)).await), Kind::Precondition);
    on.backend.detach(&volume, &node("a")).await.unwrap();
    assert_eq!(kind(on.backend.attach(&attach(&volume, "b", 2)).await), Kind::Precondition);
    on.backend.attach(&attach(&volume, "b", 4)).await.unwrap();
}

/// After a fence only the new term gets in; a late fence of an old term does nothing.
pub async fn a_fence_makes_way_for_the_next_holder<B: Volumes, P: ContentProbe>(
    on: &Subject<B, P>,
) {
    let volume = make(&on.backend, "vol-1").await;
    on.backend.attach(&attach(&volume, "a", 1)).await.unwrap();
    let strength = on.backend.fence(&volume, Term(2)).await.unwrap();
    assert!(strength >= FenceStrength::Cooperative);
    assert_eq!(on.backend.fence(&volume, Term(2)).await.unwrap(), strength);
    on.backend.detach(&volume, &node("a")).await.unwrap();
    assert_eq!(kind(on.backend.attach(&attach(&volume, "a", 1)).await), Kind::Precondition);
    on.backend.attach(&attach(&volume, "b", 2)).await.unwrap();
    on.backend.fence(&volume, Term(1)).await.unwrap();
    on.backend.fence(&volume, Term(2)).await.unwrap();
    assert_eq!(attached(&on.backend, &volume).await, Some((node("b"), Term(2))));
    on.backend.attach(&attach(&volume, "b", 2)).await.unwrap();
}

/// The detach of a node that lost the volume leaves the next one's attachment alone.
pub async fn a_stranger_detaches_nothing<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    let volume = make(&on.backend, "vol-1").await;
    on.backend.attach(&attach(&volume, "b", 2)).await.unwrap();
    on.backend.detach(&volume, &node("a")).await.unwrap();
    assert_eq!(attached(&on.backend, &volume).await, Some((node("b"), Term(2))));
}

/// It stays as it was.
pub async fn an_attached_volume_is_not_deleted<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    let volume = make(&on.backend, "vol-1").await;
    on.probe.write(&volume, 0, b"kept").await.unwrap();
    on.backend.attach(&attach(&volume, "node-a", 1)).await.unwrap();
    let error = on.backend.delete(&volume).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Precondition);
    assert!(error.to_string().contains("node-a"), "{error}");
    assert_eq!(on.probe.read(&volume, 0, 4).await.unwrap(), b"kept");
    on.backend.detach(&volume, &node("node-a")).await.unwrap();
    on.backend.delete(&volume).await.unwrap();
}

/// A clone may be larger, not smaller; what is written to one is not seen in the other.
pub async fn a_clone_has_the_content_and_its_own_life<B: Volumes, P: ContentProbe>(
    on: &Subject<B, P>,
) {
    let source = make(&on.backend, "vol-1").await;
    let far = SIZE.0 - 4;
    on.probe.write(&source, 0, b"near").await.unwrap();
    on.probe.write(&source, far, b"far!").await.unwrap();
    let from = Some(Source::Volume(source.clone()));
    let progress = Progress::default();
    let larger = request("vol-2", Bytes(SIZE.0 * 2), from.clone());
    assert_eq!(on.backend.create(&larger, &progress).await.unwrap(), Bytes(SIZE.0 * 2));
    let (done, total) = progress.read();
    assert_eq!((done, total), (SIZE, SIZE));
    let copy = id("vol-2");
    assert_eq!(on.probe.read(&copy, 0, 4).await.unwrap(), b"near");
    assert_eq!(on.probe.read(&copy, far, 8).await.unwrap(), b"far!\0\0\0\0");
    on.probe.write(&copy, 0, b"mine").await.unwrap();
    assert_eq!(on.probe.read(&source, 0, 4).await.unwrap(), b"near");
    let smaller = request("vol-3", Bytes(SIZE.0 / 2), from);
    assert_eq!(kind(on.backend.create(&smaller, &Progress::default()).await), Kind::OutOfRange);
    on.backend.delete(&source).await.unwrap();
    assert_eq!(on.probe.read(&copy, 0, 4).await.unwrap(), b"mine");
    assert_eq!(on.backend.create(&larger, &progress).await.unwrap(), Bytes(SIZE.0 * 2));
    assert_eq!(on.backend.list(None, 10).await.unwrap().len(), 1);
}

/// A snapshot keeps the content of its time, and a restore outlives it.
pub async fn a_restore_has_the_content_of_the_cut<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    let source = make(&on.backend, "vol-1").await;
    on.probe.write(&source, 1 << 20, b"then").await.unwrap();
    let taken = cut(&on.backend, &[("snap-1", "vol-1")]).await.unwrap();
    assert_eq!(taken[0].size, SIZE);
    on.probe.write(&source, 1 << 20, b"now!").await.unwrap();
    assert_eq!(cut(&on.backend, &[("snap-1", "vol-1")]).await.unwrap(), taken);
    assert_eq!(on.backend.snapshots().await.unwrap(), taken);
    on.backend.delete(&source).await.unwrap();
    let restore = request("vol-2", SIZE, Some(Source::Snapshot(snap("snap-1"))));
    on.backend.create(&restore, &Progress::default()).await.unwrap();
    on.backend.delete_snapshot(&snap("snap-1")).await.unwrap();
    on.backend.delete_snapshot(&snap("snap-1")).await.unwrap();
    assert_eq!(on.probe.read(&id("vol-2"), 1 << 20, 4).await.unwrap(), b"then");
    assert_eq!(on.backend.snapshots().await.unwrap(), []);
}

/// A source that does not exist makes nothing.
pub async fn a_missing_source_is_named<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    for text in ["vol-absent", "../escape"] {
        for source in [Source::Volume(id(text)), Source::Snapshot(snap(text))] {
            let request = request("vol-1", SIZE, Some(source));
            let error = on.backend.create(&request, &Progress::default()).await.unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
    assert_eq!(on.backend.list(None, 10).await.unwrap(), []);
}

/// One volume that cannot be cut leaves no snapshot of the others.
pub async fn a_group_is_taken_whole_or_not_at_all<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    for text in ["vol-1", "vol-2"] {
        let volume = make(&on.backend, text).await;
        on.probe.write(&volume, 0, text.as_bytes()).await.unwrap();
    }
    let lacking = cut(&on.backend, &[("snap-1", "vol-1"), ("snap-2", "vol-absent")]).await;
    assert_eq!(kind(lacking), Kind::NotFound);
    assert_eq!(on.backend.snapshots().await.unwrap(), []);
    let pairs = [("snap-1", "vol-1"), ("snap-2", "vol-2")];
    let taken = cut(&on.backend, &pairs).await.unwrap();
    assert_eq!(cut(&on.backend, &pairs).await.unwrap(), taken);
    assert_eq!(on.backend.snapshots().await.unwrap().len(), 2);
    for (at, of) in pairs {
        let restored = format!("restored-{at}");
        let request = request(&restored, SIZE, Some(Source::Snapshot(snap(at))));
        on.backend.create(&request, &Progress::default()).await.unwrap();
        assert_eq!(on.probe.read(&id(&restored), 0, 5).await.unwrap(), of.as_bytes());
    }
}

/// The real size is at least the one asked for, in use or not.
pub async fn growing_keeps_the_content_and_never_shrinks<B: Volumes, P: ContentProbe>(
    on: &Subject<B, P>,
) {
    let volume = make(&on.backend, "vol-1").await;
    on.probe.write(&volume, SIZE.0 - 4, b"last").await.unwrap();
    let double = Bytes(SIZE.0 * 2);
    assert_eq!(on.backend.expand(&volume, double).await.unwrap(), double);
    assert_eq!(on.probe.read(&volume, SIZE.0 - 4, 8).await.unwrap(), b"last\0\0\0\0");
    assert_eq!(on.backend.expand(&volume, double).await.unwrap(), double);
    assert_eq!(on.backend.expand(&volume, SIZE).await.unwrap(), double);
    on.backend.attach(&attach(&volume, "a", 1)).await.unwrap();
    let triple = Bytes(SIZE.0 * 3);
    assert_eq!(on.backend.expand(&volume, triple).await.unwrap(), triple);
    let huge = on.backend.expand(&volume, Bytes(1 << 62)).await;
    assert_eq!(kind(huge), Kind::OutOfRange);
    assert_eq!(on.backend.list(None, 1).await.unwrap()[0].size, triple);
}

/// An unknown parameter is refused by its name and nothing beside it is changed.
pub async fn a_change_is_made_whole_or_not_at_all<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    let volume = make(&on.backend, "vol-1").await;
    let (key, [first, second]) = on.probe.mutable();
    let change = |value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    on.backend.check(&change(first)).unwrap();
    on.backend.modify(&volume, &change(first)).await.unwrap();
    on.backend.modify(&volume, &BTreeMap::new()).await.unwrap();
    let mut unknown = change(second);
    unknown.insert("noSuchParameter".to_owned(), "1".to_owned());
    let error = on.backend.check(&unknown).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("noSuchParameter"), "{error}");
    assert!(error.to_string().contains(key), "it has to list what is known: {error}");
    assert_eq!(kind(on.backend.modify(&volume, &unknown).await), Kind::Invalid);
    let bad = on.backend.modify(&volume, &change("no-such-value")).await;
    assert_eq!(kind(bad), Kind::Invalid);
    assert_eq!(on.probe.parameter(&volume, key).await.as_deref(), Some(first));
    on.backend.modify(&volume, &change(second)).await.unwrap();
    assert_eq!(on.probe.parameter(&volume, key).await.as_deref(), Some(second));
}

/// Pages follow each other, even when the volume that one ended with is gone.
pub async fn a_listing_is_in_order_and_pages<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    let all = ["vol-0", "vol-1", "vol-10", "vol-2", "vol-3"];
    for text in all.iter().rev() {
        make(&on.backend, text).await;
    }
    let (mut walked, mut after) = (Vec::new(), None::<VolumeId>);
    loop {
        let page = on.backend.list(after.as_ref(), 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        on.backend.delete(&last.id).await.unwrap();
        walked.extend(page.iter().map(|one| one.id.to_string()));
    }
    assert_eq!(walked, all);
}

/// The limits fit together, and a volume of the largest size told is not out of range.
pub async fn the_room_is_told<B: Volumes, P: ContentProbe>(on: &Subject<B, P>) {
    let room = on.backend.capacity().await.unwrap();
    assert!(room.volume_min > Bytes(0));
    assert!(room.volume_min <= room.volume_max);
    assert!(room.volume_max <= room.available);
    let smallest = request("vol-1", room.volume_min, None);
    let made = on.backend.create(&smallest, &Progress::default()).await.unwrap();
    assert_eq!(made, room.volume_min);
}
