//! Lists, page by page, while what is listed comes and goes.

use std::collections::BTreeSet;

use stead_conformance::answer::{granted, refused};
use stead_conformance::ask;
use stead_conformance::{Csi, Driver, Life};
use stead_proto::csi::v1::*;
use tonic::{Code, Status};

async fn page(csi: &Csi, max: i32, token: &str) -> Result<(Vec<String>, String), Status> {
    let request = ListVolumesRequest { max_entries: max, starting_token: token.to_owned() };
    let answer = csi.list_volumes(request).await?;
    let ids = answer.entries.into_iter().map(|e| e.volume.unwrap_or_default().volume_id).collect();
    Ok((ids, answer.next_token))
}

async fn make(csi: &Csi, names: impl Iterator<Item = String>) -> Vec<String> {
    let mut ids = Vec::new();
    for name in names {
        ids.push(granted(csi.create(ask::create(name)).await).volume_id);
    }
    ids
}

fn sorted(ids: &[String]) -> BTreeSet<String> {
    ids.iter().cloned().collect()
}

//= CSI "ListVolumes": "If the number of entries is larger than `max_entries`, the `next_token` can be
//= used as a value for the `starting_token` field in the next `ListVolumes` request."
#[tokio::test(flavor = "multi_thread")]
async fn pages_have_every_volume_once() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    assert_eq!(granted(page(&csi, 3, "").await), (Vec::new(), String::new()));
    let made = make(&csi, (0..7).map(|i| format!("v-{i}"))).await;
    for max in [1, 2, 3, 7, 8, i32::MAX] {
        let (mut all, mut token) = (Vec::new(), String::new());
        loop {
            let (ids, next) = granted(page(&csi, max, &token).await);
            assert!(ids.len() <= usize::try_from(max).unwrap());
            assert!(!ids.is_empty(), "an empty page in the middle");
            all.extend(ids);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(all.len(), made.len());
        assert_eq!(sorted(&all), sorted(&made));
    }
    let (all, next) = granted(page(&csi, 0, "").await);
    assert_eq!((sorted(&all), next), (sorted(&made), String::new()), "0 means no limit");
}

//= CSI "ListVolumes", as above; "the CO SHOULD NOT assume a consistent 'view' of all volumes between
//= paginated list calls", which is no leave to miss what was always there.
#[tokio::test(flavor = "multi_thread")]
async fn pages_miss_and_repeat_nothing_while_volumes_come_and_go() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let staying = make(&csi, (0..12).map(|i| format!("stays-{i}"))).await;
    let going = make(&csi, (0..12).map(|i| format!("goes-{i}"))).await;
    let churn = tokio::spawn({
        let csi = csi.clone();
        async move {
            for (i, id) in going.into_iter().enumerate() {
                granted(csi.delete_volume(ask::delete(id)).await);
                granted(csi.create(ask::create(format!("comes-{i}"))).await);
            }
        }
    });
    let mut rounds = 0;
    while !churn.is_finished() || rounds == 0 {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let (ids, next) = granted(page(&csi, 5, &token).await);
            seen.extend(ids);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(sorted(&seen).len(), seen.len(), "an entry was repeated");
        assert!(sorted(&seen).is_superset(&sorted(&staying)), "an entry was missed");
        rounds += 1;
    }
    churn.await.unwrap();
}

//= CSI "ListVolumes": a token stays good although the very entry that it follows is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_outlives_the_entry_that_it_follows() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let made = make(&csi, (0..5).map(|i| format!("v-{i}"))).await;
    let (first, token) = granted(page(&csi, 2, "").await);
    for id in &first {
        granted(csi.delete_volume(ask::delete(id)).await);
    }
    let (rest, next) = granted(page(&csi, 0, &token).await);
    assert!(next.is_empty());
    let expected: BTreeSet<_> = sorted(&made).difference(&sorted(&first)).cloned().collect();
    assert_eq!(sorted(&rest), expected);
    driver.crash().await;
    assert_eq!(granted(page(&csi, 0, &token).await).0, rest, "a token outlives a restart too");
}

//= CSI "ListVolumes Errors": "Invalid `starting_token` | 10 ABORTED".
//= CSI "ListVolumesRequest": "`max_entries` [...] MUST NOT be negative".
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_token_is_aborted_and_a_negative_maximum_invalid() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let made = make(&csi, (0..2).map(|i| format!("v-{i}"))).await;
    for token in ["1", "foreign", "after:", &made[0], "\u{1f418}"] {
        refused(page(&csi, 1, token).await, Code::Aborted, &["starting_token"]);
        let request =
            ListSnapshotsRequest { starting_token: token.to_owned(), ..Default::default() };
        refused(csi.list_snapshots(request).await, Code::Aborted, &["starting_token"]);
    }
    refused(page(&csi, -1, "").await, Code::InvalidArgument, &["max_entries", "-1"]);
    let request = ListSnapshotsRequest { max_entries: -1, ..Default::default() };
    refused(csi.list_snapshots(request).await, Code::InvalidArgument, &["max_entries", "-1"]);
}

async fn snapshots(csi: &Csi, request: ListSnapshotsRequest) -> (Vec<String>, String) {
    let answer = granted(csi.list_snapshots(request).await);
    let ids = answer.entries.into_iter().map(|e| e.snapshot.unwrap_or_default().snapshot_id);
    (ids.collect(), answer.next_token)
}

async fn all_snapshots(csi: &Csi, source: &str, max: i32) -> Vec<String> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListSnapshotsRequest {
            max_entries: max,
            starting_token: token,
            source_volume_id: source.to_owned(),
            ..Default::default()
        };
        let (ids, next) = snapshots(csi, request).await;
        all.extend(ids);
        if next.is_empty() {
            return all;
        }
        token = next;
    }
}

//= CSI "ListSnapshots": "`ListSnapshots` SHALL NOT list a snapshot that is being created but has not
//= been cut successfully yet"; the filters, and pages as for volumes.
#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_listed_by_page_and_by_volume() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let volumes = make(&csi, (0..2).map(|i| format!("v-{i}"))).await;
    let mut taken: Vec<Vec<String>> = vec![Vec::new(), Vec::new()];
    for i in 0..8 {
        let request = ask::snapshot(format!("s-{i}"), &volumes[i % 2]);
        taken[i % 2].push(granted(csi.snapshot(request).await).snapshot_id);
    }
    for max in [1, 3, 4, 0] {
        let all = all_snapshots(&csi, "", max).await;
        assert_eq!(all.len(), 8);
        assert_eq!(sorted(&all), sorted(&taken.concat()));
        let of_one = all_snapshots(&csi, &volumes[1], max).await;
        assert_eq!(of_one.len(), 4);
        assert_eq!(sorted(&of_one), sorted(&taken[1]));
    }
    let one = |snapshot_id: &str, source: &str| ListSnapshotsRequest {
        snapshot_id: snapshot_id.to_owned(),
        source_volume_id: source.to_owned(),
        ..Default::default()
    };
    let found = snapshots(&csi, one(&taken[0][0], "")).await;
    assert_eq!(found, (vec![taken[0][0].clone()], String::new()));
    assert_eq!(snapshots(&csi, one(&taken[0][0], &volumes[1])).await.0, Vec::<String>::new());
    assert_eq!(snapshots(&csi, one("no-such-snapshot", "")).await.0, Vec::<String>::new());
    assert_eq!(snapshots(&csi, one("", "no-such-volume")).await.0, Vec::<String>::new());
    // Deleting between two pages neither hides nor repeats another one.
    let request = ListSnapshotsRequest { max_entries: 3, ..Default::default() };
    let (first, token) = snapshots(&csi, request).await;
    let gone = DeleteSnapshotRequest { snapshot_id: first[2].clone(), ..Default::default() };
    granted(csi.delete_snapshot(gone).await);
    let request = ListSnapshotsRequest { starting_token: token, ..Default::default() };
    assert_eq!(snapshots(&csi, request).await.0.len(), 5);
}

//= CSI "ListVolumes": "If the plugin supports LIST_VOLUMES_PUBLISHED_NODES capability, [...]
//= `published_node_ids` [...] MUST" tell the nodes that the volume is published to.
#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_of_a_volume_are_listed_from_publish_to_unpublish() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let life = granted(Life::create(&driver, ask::create("one")).await);
    let other = granted(csi.create(ask::create("other")).await);
    let nodes = |listed: Vec<(String, Vec<String>)>, id: &str| {
        listed.into_iter().find(|(listed, _)| listed == id).map(|(_, nodes)| nodes)
    };
    let none: Option<Vec<String>> = Some(Vec::new());
    let here = Some(vec![driver.node.clone()]);
    assert_eq!(nodes(granted(csi.volumes().await), &life.id()), none);
    granted(life.publish().await);
    assert_eq!(nodes(granted(csi.volumes().await), &life.id()), here);
    granted(life.up().await);
    assert_eq!(nodes(granted(csi.volumes().await), &life.id()), here);
    assert_eq!(nodes(granted(csi.volumes().await), &other.volume_id), none);
    driver.crash().await;
    assert_eq!(nodes(granted(csi.volumes().await), &life.id()), here);
    granted(life.down().await);
    assert_eq!(nodes(granted(csi.volumes().await), &life.id()), none);
}
