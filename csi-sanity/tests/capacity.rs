//! Room: how much there is, what takes it, and where.

use stead_conformance::answer::{granted, refused};
use stead_conformance::ask::{self, MIB, SIZE};
use stead_conformance::{Csi, Disk, Driver, Life, Setup, host};
use stead_proto::csi::v1::*;
use tonic::Code;

async fn capacity(csi: &Csi, request: GetCapacityRequest) -> GetCapacityResponse {
    granted(csi.get_capacity(request).await)
}

fn topology(key: &str, value: &str) -> Topology {
    Topology { segments: ask::map([(key, value)]) }
}

//= CSI "GetCapacityResponse": "The available capacity, in bytes, of the storage that can be used to
//= provision volumes"; "the value MUST NOT be negative".
#[tokio::test(flavor = "multi_thread")]
async fn capacity_is_what_the_file_system_has() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let answer = capacity(&csi, GetCapacityRequest::default()).await;
    // Others write to the same disk meanwhile.
    let slack = 256 * MIB;
    assert!(answer.available_capacity > 0);
    assert!(answer.available_capacity <= host::available_bytes(driver.pool().root()) + slack);
    assert!(answer.maximum_volume_size.is_some_and(|max| max > 0));
    let least = answer.minimum_volume_size.unwrap_or_default();
    assert!((1..=SIZE).contains(&least), "{least}");
}

//= CSI "GetCapacity": what is taken is not available any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_thick_volume_takes_its_room_at_once_and_a_thin_one_does_not() {
    let Some(disk) = Disk::create(128 * MIB) else { return };
    let Some(driver) = Setup::new().on(&disk).start().await else { return };
    let csi = driver.csi();
    let before = capacity(&csi, GetCapacityRequest::default()).await.available_capacity;
    assert!(before <= host::available_bytes(driver.pool().root()));
    let mut thin = ask::create("thin");
    thin.capacity_range = ask::sized(64 * MIB);
    granted(csi.create(thin).await);
    let after_thin = capacity(&csi, GetCapacityRequest::default()).await.available_capacity;
    assert!(before - after_thin < 4 * MIB, "a thin volume took {}", before - after_thin);
    let mut thick = ask::create("thick");
    thick.capacity_range = ask::sized(32 * MIB);
    thick.parameters = ask::map([("provisioning", "thick")]);
    let thick = granted(csi.create(thick).await);
    let after_thick = capacity(&csi, GetCapacityRequest::default()).await.available_capacity;
    assert!(after_thin - after_thick >= 32 * MIB, "a thick volume took too little");
    granted(csi.delete_volume(ask::delete(thick.volume_id)).await);
    let freed = capacity(&csi, GetCapacityRequest::default()).await.available_capacity;
    assert!(freed - after_thick >= 32 * MIB, "the room of a deleted volume did not come back");
}

//= CSI "GetCapacityRequest", `accessible_topology` and `volume_capabilities`: "If specified, the Plugin
//= SHALL report the capacity of the storage that can be used to provision volumes" with them.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_or_had_has_no_capacity() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let info = granted(csi.node_get_info(NodeGetInfoRequest {}).await);
    let at = |accessible_topology| GetCapacityRequest { accessible_topology, ..Default::default() };
    assert!(capacity(&csi, at(info.accessible_topology.clone())).await.available_capacity > 0);
    for elsewhere in [topology("topology.stead.dev/node", "b"), topology("zone", "z1")] {
        assert_eq!(capacity(&csi, at(Some(elsewhere))).await.available_capacity, 0);
    }
    let mut shared = ask::mount();
    let mode = volume_capability::access_mode::Mode::MultiNodeMultiWriter.into();
    shared.access_mode = Some(volume_capability::AccessMode { mode });
    let request = GetCapacityRequest { volume_capabilities: vec![shared], ..Default::default() };
    assert_eq!(capacity(&csi, request).await.available_capacity, 0);
    let request = GetCapacityRequest {
        parameters: ask::map([("no-such-parameter", "x")]),
        ..Default::default()
    };
    refused(csi.get_capacity(request).await, Code::InvalidArgument, &["no-such-parameter"]);
}

//= CSI "CreateVolume Errors": "Unsupported `capacity_range` | 11 OUT_OF_RANGE".
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_beyond_the_pool_is_out_of_range() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    for required in [1 << 50, i64::MAX] {
        let request =
            CreateVolumeRequest { capacity_range: ask::sized(required), ..ask::create("huge") };
        refused(csi.create(request).await, Code::OutOfRange, &[&required.to_string()]);
    }
    let volume = granted(csi.create(ask::create("one")).await);
    let expand = ControllerExpandVolumeRequest {
        volume_id: volume.volume_id.clone(),
        capacity_range: ask::sized(1 << 50),
        ..Default::default()
    };
    refused(csi.controller_expand_volume(expand).await, Code::OutOfRange, &[]);
    granted(csi.delete_volume(ask::delete(volume.volume_id)).await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "CreateVolume Errors": "Unable to provision in `accessible_topology` | 8 RESOURCE_EXHAUSTED".
#[tokio::test(flavor = "multi_thread")]
async fn a_topology_that_cannot_be_had_is_resource_exhausted() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let here = granted(csi.node_get_info(NodeGetInfoRequest {}).await).accessible_topology;
    let here = here.unwrap_or_default();
    assert!(!here.segments.is_empty(), "a node that is nowhere");
    let elsewhere = topology("topology.stead.dev/node", "b");
    let at = |requisite: Vec<Topology>| CreateVolumeRequest {
        accessibility_requirements: Some(TopologyRequirement {
            preferred: requisite.clone(),
            requisite,
        }),
        ..ask::create("one")
    };
    let nowhere = csi.create(at(vec![elsewhere.clone()])).await;
    refused(nowhere, Code::ResourceExhausted, &["topology.stead.dev/node"]);
    assert_eq!(driver.residue().await, Vec::<String>::new());
    let volume = granted(csi.create(at(vec![elsewhere, here.clone()])).await);
    //= CSI "Volume.accessible_topology": "the node MUST be in" one of them.
    let reached = |t: &Topology| t.segments.iter().all(|(k, v)| here.segments.get(k) == Some(v));
    assert!(volume.accessible_topology.iter().all(reached), "{volume:?}");
    assert!(!volume.accessible_topology.is_empty());
    // Swarm sends a requirement that requires nothing.
    granted(csi.create(CreateVolumeRequest { name: "two".to_owned(), ..at(Vec::new()) }).await);
}

//= CSI "ControllerPublishVolume Errors": "Node does not exist | 5 NOT_FOUND", "Volume does not exist | 5
//= NOT_FOUND".
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_node_or_volume_is_not_found() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let life = granted(Life::create(&driver, ask::create("one")).await);
    let mut request = life.publish_request();
    request.node_id = "no-such-node".to_owned();
    refused(csi.controller_publish_volume(request).await, Code::NotFound, &["no-such-node"]);
    let mut request = life.publish_request();
    request.volume_id = "no-such-volume".to_owned();
    refused(csi.controller_publish_volume(request).await, Code::NotFound, &["no-such-volume"]);
}

//= CSI "CreateVolume Errors": "Insufficient capacity | 8 RESOURCE_EXHAUSTED"; nothing stays of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_nothing_is_lost() {
    let Some(disk) = Disk::create(128 * MIB) else { return };
    let Some(driver) = Setup::new().on(&disk).start().await else { return };
    let csi = driver.csi();
    let life = granted(Life::create(&driver, ask::create("one")).await);
    granted(life.up().await);
    host::write(&life.target, "before the disk was full");
    let thick = |name: &str, bytes| CreateVolumeRequest {
        parameters: ask::map([("provisioning", "thick")]),
        capacity_range: ask::sized(bytes),
        ..ask::create(name)
    };
    granted(csi.create(thick("filler", 64 * MIB)).await);
    let answer = csi.create(thick("too much", 64 * MIB)).await;
    let sentence = refused(answer, Code::ResourceExhausted, &[]);
    assert!(sentence.contains("bytes"), "how much is missing? {sentence}");
    assert_eq!(host::names(&driver.pool().volumes()).len(), 2, "something stays of it");
    driver.crash().await;
    assert_eq!(host::read(&life.target, "before the disk was full"), "before the disk was full");
    granted(life.end().await);
    granted(csi.create(thick("fits", 8 * MIB)).await);
}
