//! Two nodes and one volume: who may have it, and how it changes hands.

use std::time::Duration;

use stead_conformance::answer::{granted, refused};
use stead_conformance::ask;
use stead_conformance::{Driver, Life, Setup, host};
use stead_proto::csi::v1::*;
use tokio::time::{Instant, sleep};
use tonic::Code;

/// A driver and a second node on the same pool, with leases that end soon.
async fn two() -> Option<(Driver, Driver)> {
    let quick = || Setup::new().option("--lease-ttl", "2s");
    let first = quick().shared().option("--lease-grace", "1s").start().await?;
    let second = first.join("b", quick()).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !first.get("nodes").await.to_string().contains("\"b\"") {
        assert!(Instant::now() < deadline, "the second node does not register");
        sleep(Duration::from_millis(50)).await;
    }
    Some((first, second))
}

/// The same volume on another node.
fn on(life: &Life, driver: &Driver, host: &Driver) -> Life {
    Life::of(driver, host, life.volume.clone(), life.capability.clone())
}

//= CSI "ControllerPublishVolume Errors": "Volume published to another node | 9 FAILED_PRECONDITION | [...]
//= The Plugin SHOULD specify the `node_id` of the node at which the volume is published as part of the
//= gRPC `status.message`".
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_another_node_has_is_refused_with_its_name() {
    let Some((a, b)) = two().await else { return };
    let here = granted(Life::create(&a, ask::create("one")).await);
    let there = on(&here, &a, &b);
    granted(here.up().await);
    refused(there.publish().await, Code::FailedPrecondition, &["'a'"]);
    granted(here.publish().await);
    host::write(&here.target, "kept");
    granted(here.down().await);
    granted(there.up().await);
    assert_eq!(host::read(&there.target, "kept"), "kept");
    refused(here.publish().await, Code::FailedPrecondition, &["'b'"]);
    granted(there.end().await);
    assert_eq!(a.residue().await, Vec::<String>::new());
}

//= CSI "ControllerUnpublishVolume": "If this value is not set, the SP MUST unpublish the volume from all
//= nodes to which it is published"; of another node it has no say.
#[tokio::test(flavor = "multi_thread")]
async fn an_unpublish_is_of_the_named_node_or_of_all() {
    let Some((a, b)) = two().await else { return };
    let here = granted(Life::create(&a, ask::create("one")).await);
    let there = on(&here, &a, &b);
    granted(there.publish().await);
    granted(here.unpublish().await);
    let listed = granted(a.csi().volumes().await);
    assert_eq!(listed, vec![(here.id(), vec!["b".to_owned()])], "it was taken from the wrong node");
    let all = ControllerUnpublishVolumeRequest { volume_id: here.id(), ..Default::default() };
    granted(a.csi().controller_unpublish_volume(all.clone()).await);
    granted(a.csi().controller_unpublish_volume(all).await);
    assert_eq!(granted(a.csi().volumes().await), vec![(here.id(), Vec::new())]);
}

//= CSI "ControllerPublishVolumeResponse": `publish_context` is the SP's own; the term in it fences.
#[tokio::test(flavor = "multi_thread")]
async fn the_term_grows_with_each_change_of_hands_and_with_nothing_else() {
    let Some((a, b)) = two().await else { return };
    let here = granted(Life::create(&a, ask::create("one")).await);
    let there = on(&here, &a, &b);
    let mut last = 0;
    for round in 0..3 {
        for life in [&here, &there] {
            granted(life.publish().await);
            let term = life.term();
            assert!(term > last, "round {round}: {term} after {last}");
            granted(life.up().await);
            assert_eq!(life.term(), term, "a repeat changed the term");
            granted(life.down().await);
            last = term;
        }
    }
}

//= CSI "NodeStageVolume": a node that lost the volume meanwhile is refused, whatever it was given before.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_an_old_term_can_do_nothing() {
    let Some((a, b)) = two().await else { return };
    let here = granted(Life::create(&a, ask::create("one")).await);
    let there = on(&here, &a, &b);
    granted(here.publish().await);
    let stale = here.stage_request();
    granted(here.unpublish().await);
    granted(there.up().await);
    let staged = a.csi().node_stage_volume(stale).await;
    refused(staged, Code::FailedPrecondition, &[&here.id()]);
    assert!(host::mount_at(&here.staging).is_none());
    granted(there.down().await);
}

//= CSI "ControllerPublishVolume": a node that is gone for good does not keep a volume for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_nodes_volume_is_had_elsewhere_within_seconds() {
    let Some((a, b)) = two().await else { return };
    let more = [("static-ip", "auto"), ("subnet", "10.91.9.0/24")];
    let first = granted(Life::create(&a, ask::create_for("one", "db-0", &more)).await);
    let there = on(&first, &a, &b);
    granted(there.up().await);
    host::write(&there.target, "what the dead node wrote");
    let address = there.volume.volume_context["stead.dev/static-ip"].clone();
    assert!(b.has_address(&address).await, "{address} is not on the node");
    refused(first.publish().await, Code::FailedPrecondition, &["'b'"]);
    b.kill();
    // A process that was killed leaves its mounts; a host that died would not.
    for target in [&there.target, &there.staging] {
        nix::mount::umount(target.as_path()).unwrap();
    }
    let died = Instant::now();
    loop {
        match first.up().await {
            Ok(()) => break,
            Err(status) => assert!(
                matches!(status.code(), Code::FailedPrecondition | Code::Aborted),
                "{status:?}"
            ),
        }
        assert!(died.elapsed() < Duration::from_secs(15), "the dead node keeps the volume");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(died.elapsed() > Duration::from_secs(1), "taken over while the lease lived");
    assert!(first.term() > there.term());
    assert!(a.has_address(&address).await, "{address} did not follow");
    assert_eq!(host::read(&first.target, "what the dead node wrote"), "what the dead node wrote");
    assert!(!b.has_address(&address).await, "{address} is on two nodes");
    granted(first.end().await);
}

//= CSI "ControllerPublishVolume": a node that hangs cannot be told anything, so what it had goes by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_loses_its_address_and_gets_it_back() {
    let Some((a, b)) = two().await else { return };
    let more = [("static-ip", "auto"), ("subnet", "10.91.9.0/24")];
    let volume = granted(a.csi().create(ask::create_for("one", "db-0", &more)).await);
    let there = Life::of(&a, &b, volume, ask::mount());
    granted(there.up().await);
    let address = there.volume.volume_context["stead.dev/static-ip"].clone();
    assert!(b.has_address(&address).await, "{address} is not on the node");
    b.freeze(true);
    let frozen = Instant::now();
    while b.has_address(&address).await {
        // The lease, and the kernel's rounding to seconds.
        assert!(frozen.elapsed() < Duration::from_secs(5), "a node that hangs keeps {address}");
        sleep(Duration::from_millis(50)).await;
    }
    b.freeze(false);
    let thawed = Instant::now();
    loop {
        let up = there.up().await;
        if up.is_ok() && b.has_address(&address).await {
            break;
        }
        assert!(thawed.elapsed() < Duration::from_secs(20), "it does not recover: {up:?}");
        sleep(Duration::from_millis(100)).await;
    }
    granted(there.end().await);
    assert!(!b.has_address(&address).await);
    assert_eq!(a.residue().await, Vec::<String>::new());
}

//= CSI "ControllerPublishVolume Errors": "Node does not exist", "Max volumes attached", and a node that
//= cannot reach the volume: refused before anything is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_not_shared_stays_with_its_node() {
    let Some(a) = Driver::start().await else { return };
    let volume = granted(a.csi().create(ask::create("one")).await);
    let info = granted(a.csi().node_get_info(NodeGetInfoRequest {}).await);
    let here = info.accessible_topology.unwrap_or_default().segments;
    let segments = volume.accessible_topology.first().map(|t| t.segments.clone());
    let segments = segments.unwrap_or_default();
    assert!(!segments.is_empty(), "a volume of one node that says it is everywhere");
    assert!(segments.iter().all(|(key, value)| here.get(key) == Some(value)), "{segments:?}");
}
