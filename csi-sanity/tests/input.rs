//! Bad input: the code that the specification names, a sentence that says what to change, and nothing
//! left behind.

use stead_conformance::answer::{granted, refused};
use stead_conformance::ask::{self, MIB};
use stead_conformance::{Driver, Life, host};
use stead_proto::csi::v1::volume_capability::access_mode::Mode;
use stead_proto::csi::v1::volume_capability::{AccessType, MountVolume};
use stead_proto::csi::v1::*;
use tonic::Code;

//= CSI "CreateVolume Errors": "Unsupported field value | 3 INVALID_ARGUMENT".
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_parameter_is_refused_with_those_that_there_are() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let with = |key: &str, value: &str| CreateVolumeRequest {
        parameters: ask::map([(key, value)]),
        ..ask::create("one")
    };
    let cases = [
        ("no-such", "x", "provisioning"),
        ("provisioning", "fat", "thin"),
        ("fsType", "ntfs", "ext4"),
        ("directIo", "", "auto"),
        ("stead.dev/no-such", "x", "static-ip"),
    ];
    for (key, value, known) in cases {
        let answer = csi.create(with(key, value)).await;
        refused(answer, Code::InvalidArgument, &[key.trim_start_matches("stead.dev/"), known]);
    }
    let mut mutable = ask::create("one");
    mutable.mutable_parameters = ask::map([("no-such", "x")]);
    refused(csi.create(mutable).await, Code::InvalidArgument, &["no-such"]);
    let mut snapshot = ask::snapshot("s", "no-such-volume");
    snapshot.parameters = ask::map([("no-such", "x")]);
    refused(csi.snapshot(snapshot).await, Code::InvalidArgument, &["no-such"]);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "CapacityRange": "At least one [...] MUST be specified"; "MUST NOT be negative"; "CreateVolume
//= Errors": "Unsupported `capacity_range` | 11 OUT_OF_RANGE".
#[tokio::test(flavor = "multi_thread")]
async fn a_size_is_positive_and_the_default_where_none_is_asked() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let with = |name: &str, required_bytes, limit_bytes| CreateVolumeRequest {
        capacity_range: Some(CapacityRange { required_bytes, limit_bytes }),
        ..ask::create(name)
    };
    for (required, limit) in [(-1, 0), (0, -1), (i64::MIN, 0), (2 * MIB, MIB)] {
        refused(
            csi.create(with("bad", required, limit)).await,
            Code::OutOfRange,
            &["capacity_range"],
        );
    }
    let none = CreateVolumeRequest { capacity_range: None, ..ask::create("none") };
    let none = granted(csi.create(none).await);
    assert!(none.capacity_bytes > 0);
    let zero = granted(csi.create(with("zero", 0, 0)).await);
    assert_eq!(zero.capacity_bytes, none.capacity_bytes, "zero is the default");
    let limited = granted(csi.create(with("limited", 0, 8 * MIB)).await);
    assert!(limited.capacity_bytes <= 8 * MIB);
    let odd = granted(csi.create(with("odd", 5 * MIB + 1, 0)).await);
    assert!((5 * MIB + 1..6 * MIB).contains(&odd.capacity_bytes));
    let impossible = csi.create(with("impossible", 5 * MIB + 1, 5 * MIB + 1)).await;
    refused(impossible, Code::OutOfRange, &["4096"]);
    assert_eq!(granted(csi.volumes().await).len(), 4);
    // Only now is it known what the name stands for.
    granted(csi.create(with("impossible", 5 * MIB, 5 * MIB)).await);
}

//= CSI "CreateVolume Errors": "Missing required field | 3 INVALID_ARGUMENT", and so for every procedure.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_field_is_named() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let life = granted(Life::create(&driver, ask::create("one")).await);
    let invalid = Code::InvalidArgument;
    refused(csi.create(ask::create("")).await, invalid, &["name"]);
    let bare = CreateVolumeRequest { volume_capabilities: Vec::new(), ..ask::create("two") };
    refused(csi.create(bare).await, invalid, &["volume_capabilities"]);
    let neither = VolumeCapability { access_type: None, ..ask::mount() };
    let bare = CreateVolumeRequest { volume_capabilities: vec![neither], ..ask::create("two") };
    refused(csi.create(bare).await, invalid, &["block", "mount"]);
    refused(csi.delete_volume(ask::delete("")).await, invalid, &["volume_id"]);
    let publish = life.publish_request();
    let request = ControllerPublishVolumeRequest { volume_id: String::new(), ..publish.clone() };
    refused(csi.controller_publish_volume(request).await, invalid, &["volume_id"]);
    let request = ControllerPublishVolumeRequest { node_id: String::new(), ..publish.clone() };
    refused(csi.controller_publish_volume(request).await, invalid, &["node_id"]);
    let request = ControllerPublishVolumeRequest { volume_capability: None, ..publish };
    refused(csi.controller_publish_volume(request).await, invalid, &["volume_capability"]);
    granted(life.publish().await);
    let stage = life.stage_request();
    let request = NodeStageVolumeRequest { staging_target_path: String::new(), ..stage.clone() };
    refused(csi.node_stage_volume(request).await, invalid, &["staging_target_path"]);
    let request = NodeStageVolumeRequest { volume_capability: None, ..stage.clone() };
    refused(csi.node_stage_volume(request).await, invalid, &["volume_capability"]);
    let request = NodeStageVolumeRequest { volume_id: String::new(), ..stage };
    refused(csi.node_stage_volume(request).await, invalid, &["volume_id"]);
    let publish = life.node_publish_request();
    let request = NodePublishVolumeRequest { target_path: String::new(), ..publish.clone() };
    refused(csi.node_publish_volume(request).await, invalid, &["target_path"]);
    let request = NodePublishVolumeRequest { volume_capability: None, ..publish };
    refused(csi.node_publish_volume(request).await, invalid, &["volume_capability"]);
    refused(
        csi.node_unpublish_volume(NodeUnpublishVolumeRequest::default()).await,
        invalid,
        &["volume_id"],
    );
    refused(
        csi.node_unstage_volume(NodeUnstageVolumeRequest::default()).await,
        invalid,
        &["volume_id"],
    );
    refused(csi.snapshot(ask::snapshot("", life.id())).await, invalid, &["name"]);
    refused(csi.snapshot(ask::snapshot("s", "")).await, invalid, &["source_volume_id"]);
    refused(csi.delete_snapshot(DeleteSnapshotRequest::default()).await, invalid, &["snapshot_id"]);
}

//= CSI "NodePublishVolume Errors": the order of calls; without a stage FAILED_PRECONDITION.
//= CSI "NodeStageVolume": without a publish there is no `publish_context`.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_was_left_out_is_named() {
    let Some(driver) = Driver::start().await else { return };
    let life = granted(Life::create(&driver, ask::create("one")).await);
    let unpublished = life.stage().await;
    assert!(
        unpublished.as_ref().is_err_and(|status| {
            matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument)
                && status.message().contains("ControllerPublishVolume")
        }),
        "{unpublished:?}"
    );
    granted(life.publish().await);
    refused(life.node_publish().await, Code::FailedPrecondition, &["NodeStageVolume"]);
    let mut unstaged = life.node_publish_request();
    unstaged.staging_target_path = String::new();
    let answer = driver.csi().node_publish_volume(unstaged).await;
    refused(answer, Code::FailedPrecondition, &["NodeStageVolume"]);
    granted(life.up().await);
    refused(life.delete().await, Code::FailedPrecondition, &[&driver.node, "unpublish"]);
    refused(life.unpublish().await, Code::FailedPrecondition, &[&driver.node]);
    host::write(&life.target, "still there");
    granted(life.end().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "NodeStageVolume Errors": "Volume already staged [...] but is incompatible | 6 ALREADY_EXISTS".
#[tokio::test(flavor = "multi_thread")]
async fn the_same_path_with_another_capability_already_exists() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let life = granted(Life::create(&driver, ask::create("one")).await);
    granted(life.up().await);
    let noatime = ask::mount_with(MountVolume {
        mount_flags: vec!["noatime".to_owned()],
        ..Default::default()
    });
    let mut stage = life.stage_request();
    stage.volume_capability = Some(noatime.clone());
    refused(csi.node_stage_volume(stage).await, Code::AlreadyExists, &[&life.id()]);
    let mut publish = life.node_publish_request();
    publish.volume_capability = Some(noatime);
    refused(csi.node_publish_volume(publish).await, Code::AlreadyExists, &[&life.id()]);
    let mut block = life.publish_request();
    block.volume_capability = Some(ask::block());
    refused(csi.controller_publish_volume(block).await, Code::AlreadyExists, &[&driver.node]);
    granted(life.end().await);
}

//= CSI "CreateVolume Errors" and "ValidateVolumeCapabilities": a mode that cannot be had.
#[tokio::test(flavor = "multi_thread")]
async fn a_mode_for_many_nodes_is_refused_with_what_can_be_had() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let life = granted(Life::create(&driver, ask::create("one")).await);
    for mode in [Mode::MultiNodeReaderOnly, Mode::MultiNodeSingleWriter, Mode::MultiNodeMultiWriter]
    {
        let capability = ask::capability(AccessType::Mount(MountVolume::default()), mode);
        let create = CreateVolumeRequest {
            volume_capabilities: vec![capability.clone()],
            ..ask::create("two")
        };
        let name = mode.as_str_name();
        refused(csi.create(create).await, Code::InvalidArgument, &[name, "SINGLE_NODE_"]);
        let validate = ValidateVolumeCapabilitiesRequest {
            volume_id: life.id(),
            volume_capabilities: vec![ask::mount(), capability],
            ..Default::default()
        };
        let answer = granted(csi.validate_volume_capabilities(validate).await);
        assert_eq!(answer.confirmed, None);
        assert!(answer.message.contains(name), "{}", answer.message);
    }
    let validate = ValidateVolumeCapabilitiesRequest {
        volume_id: life.id(),
        volume_capabilities: vec![ask::mount(), ask::block()],
        volume_context: life.volume.volume_context.clone(),
        ..Default::default()
    };
    let answer = granted(csi.validate_volume_capabilities(validate.clone()).await);
    let confirmed = answer.confirmed.unwrap_or_default();
    assert_eq!(confirmed.volume_capabilities, validate.volume_capabilities);
}

//= CSI "NodePublishVolumeRequest.target_path": "absolute path"; whatever else comes is no path of ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_none_is_refused() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let life = granted(Life::create(&driver, ask::create("one")).await);
    granted(life.publish().await);
    let mut stage = life.stage_request();
    stage.staging_target_path = "relative/path".to_owned();
    refused(csi.node_stage_volume(stage).await, Code::InvalidArgument, &["absolute"]);
    granted(life.stage().await);
    let mut publish = life.node_publish_request();
    publish.target_path = "relative/path".to_owned();
    refused(csi.node_publish_volume(publish).await, Code::InvalidArgument, &["absolute"]);
    let file = driver.path("a-file");
    std::fs::write(&file, "of somebody").unwrap();
    let mut publish = life.node_publish_request();
    publish.target_path = file.display().to_string();
    let answer = csi.node_publish_volume(publish).await;
    refused(answer, Code::FailedPrecondition, &[&file.display().to_string()]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "of somebody");
    let target_path = file.display().to_string();
    let unpublish = NodeUnpublishVolumeRequest { volume_id: life.id(), target_path };
    // Whatever is answered, a file that was never ours stays.
    drop(csi.node_unpublish_volume(unpublish).await);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "of somebody");
    granted(life.end().await);
}
