//! How a workload gets its volume: for whom, for reading or writing, and how full it is.

use std::os::unix::fs::MetadataExt;

use stead_conformance::answer::{granted, refused};
use stead_conformance::ask::{self, MIB, SIZE};
use stead_conformance::{Driver, Life, Setup, host};
use stead_proto::csi::v1::volume_capability::access_mode::Mode;
use stead_proto::csi::v1::volume_capability::{AccessType, MountVolume};
use stead_proto::csi::v1::*;
use tonic::Code;

async fn with(driver: &Driver, capability: VolumeCapability) -> Life {
    let volume_capabilities = vec![capability];
    let request = CreateVolumeRequest { volume_capabilities, ..ask::create("one") };
    granted(Life::create(driver, request).await)
}

//= CSI "MountVolume.volume_mount_group": "the Plugin MUST ensure that [...] the volume [...] is owned by" or
//= accessible to that group.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_belongs_to_its_mount_group() {
    let Some(driver) = Driver::start().await else { return };
    let mount = MountVolume { volume_mount_group: "4242".to_owned(), ..Default::default() };
    let life = with(&driver, ask::mount_with(mount)).await;
    granted(life.up().await);
    let root = std::fs::metadata(&life.target).unwrap();
    assert_eq!(root.gid(), 4242);
    assert_eq!(root.mode() & 0o2070, 0o2070, "{:o}", root.mode());
    host::write(&life.target, "of the group");
    assert_eq!(std::fs::metadata(life.target.join("data")).unwrap().gid(), 4242, "not inherited");
    granted(life.end().await);
    let mount =
        MountVolume { volume_mount_group: "no-such-group".to_owned(), ..Default::default() };
    let life = with(&driver, ask::mount_with(mount)).await;
    granted(life.publish().await);
    refused(life.stage().await, Code::InvalidArgument, &["no-such-group"]);
    assert_eq!(host::mounts_below(&driver.path("")), Vec::new());
}

//= CSI "NodePublishVolumeRequest.readonly": "Indicates SP MUST publish the volume in readonly mode."
#[tokio::test(flavor = "multi_thread")]
async fn a_readonly_target_cannot_be_written() {
    let Some(driver) = Driver::start().await else { return };
    let mut life = with(&driver, ask::mount()).await;
    granted(life.up().await);
    host::write(&life.target, "written before");
    granted(life.node_unpublish().await);
    let mut request = life.node_publish_request();
    request.readonly = true;
    granted(driver.csi().node_publish_volume(request.clone()).await);
    let error = host::try_write(&life.target, "x").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc_erofs()));
    assert_eq!(host::read(&life.target, "written before"), "written before");
    request.readonly = false;
    let other = driver.csi().node_publish_volume(request).await;
    refused(other, Code::AlreadyExists, &[&life.id()]);
    granted(life.down().await);
    //= CSI "ControllerPublishVolumeRequest.readonly", PUBLISH_READONLY.
    life.readonly = true;
    granted(life.up().await);
    assert!(host::try_write(&life.target, "x").is_err());
    assert!(host::try_write(&life.staging, "x").is_err(), "the staging path can be written");
    assert_eq!(host::read(&life.target, "written before"), "written before");
    let mut writable = life.publish_request();
    writable.readonly = false;
    let answer = driver.csi().controller_publish_volume(writable).await;
    refused(answer, Code::AlreadyExists, &[&driver.node]);
    granted(life.end().await);
}

fn libc_erofs() -> i32 {
    nix::errno::Errno::EROFS as i32
}

//= CSI "NodePublishVolumeRequest.readonly", for a device.
#[tokio::test(flavor = "multi_thread")]
async fn a_readonly_device_cannot_be_written() {
    let Some(driver) = Driver::start().await else { return };
    let mut life = with(&driver, ask::block()).await;
    granted(life.up().await);
    host::write(&life.target, "written before");
    granted(life.down().await);
    life.readonly = true;
    granted(life.up().await);
    assert!(host::try_write(&life.target, "x").is_err(), "a read-only device was written");
    assert_eq!(host::read(&life.target, "written before"), "written before");
    granted(life.down().await);
    // Published writable to the node, and read-only to the workload alone.
    life.readonly = false;
    granted(life.publish().await);
    granted(life.stage().await);
    let mut request = life.node_publish_request();
    request.readonly = true;
    granted(driver.csi().node_publish_volume(request).await);
    assert!(host::try_write(&life.target, "x").is_err(), "a read-only device was written");
    granted(life.end().await);
}

//= CSI "AccessMode.Mode": "SINGLE_NODE_READER_ONLY: Can only be published once as readonly on a single
//= node".
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_only_capability_reads_only() {
    let Some(driver) = Driver::start().await else { return };
    let writer = with(&driver, ask::mount()).await;
    granted(writer.up().await);
    host::write(&writer.target, "written before");
    granted(writer.down().await);
    let mount = AccessType::Mount(MountVolume::default());
    let reader = ask::capability(mount, Mode::SingleNodeReaderOnly);
    let reader = Life::of(&driver, &driver, writer.volume.clone(), reader);
    granted(reader.up().await);
    assert!(host::try_write(&reader.target, "x").is_err());
    assert_eq!(host::read(&reader.target, "written before"), "written before");
    granted(reader.end().await);
}

//= CSI "NodePublishVolume", table "arguments": with SINGLE_NODE_SINGLE_WRITER a second target is
//= FAILED_PRECONDITION; with SINGLE_NODE_MULTI_WRITER it is OK.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_writer_has_one_target_and_a_multi_writer_several() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let mode = |mode| ask::capability(AccessType::Mount(MountVolume::default()), mode);
    let single = with(&driver, mode(Mode::SingleNodeSingleWriter)).await;
    granted(single.up().await);
    let mut second = single.node_publish_request();
    second.target_path = driver.path("second").display().to_string();
    let answer = csi.node_publish_volume(second.clone()).await;
    refused(answer, Code::FailedPrecondition, &[&single.target.display().to_string()]);
    assert!(host::mount_at(&driver.path("second")).is_none());
    granted(single.node_publish().await);
    granted(single.end().await);
    let multi = with(&driver, mode(Mode::SingleNodeMultiWriter)).await;
    granted(multi.up().await);
    second.volume_id = multi.id();
    second.publish_context = multi.publish_context();
    second.staging_target_path = multi.staging.display().to_string();
    second.volume_capability = Some(multi.capability.clone());
    granted(csi.node_publish_volume(second).await);
    host::write(&multi.target, "of both");
    assert_eq!(host::read(&driver.path("second"), "of both"), "of both");
    granted(multi.node_unpublish().await);
    assert_eq!(host::read(&driver.path("second"), "of both"), "of both");
    let target_path = driver.path("second").display().to_string();
    let unpublish = NodeUnpublishVolumeRequest { volume_id: multi.id(), target_path };
    granted(csi.node_unpublish_volume(unpublish).await);
    granted(multi.end().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "NodePublishVolume": "The SP is responsible for creating the `target_path`"; "NodeUnpublishVolume":
//= "The SP MUST delete the file or directory it created at this path."
#[tokio::test(flavor = "multi_thread")]
async fn the_target_path_is_made_and_removed_and_the_staging_path_stays() {
    let Some(driver) = Driver::start().await else { return };
    for capability in [ask::mount(), ask::block()] {
        let life = with(&driver, capability).await;
        assert!(!life.target.exists());
        granted(life.up().await);
        assert!(life.target.exists());
        granted(life.node_unpublish().await);
        assert!(!life.target.exists(), "the target path stays");
        granted(life.node_unpublish().await);
        granted(life.unstage().await);
        assert!(life.staging.is_dir(), "the staging path is the orchestrator's");
        granted(life.unstage().await);
        granted(life.unpublish().await);
        granted(life.delete().await);
    }
}

//= CSI "NodeGetVolumeStats": "usage" in BYTES and INODES; of a device at least its size.
#[tokio::test(flavor = "multi_thread")]
async fn stats_say_how_full_a_volume_is() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let life = with(&driver, ask::mount()).await;
    granted(life.up().await);
    let request = NodeGetVolumeStatsRequest {
        volume_id: life.id(),
        volume_path: life.target.display().to_string(),
        staging_target_path: life.staging.display().to_string(),
    };
    let of = |answer: &NodeGetVolumeStatsResponse, unit: volume_usage::Unit| {
        let unit = i32::from(unit);
        answer.usage.iter().find(|usage| usage.unit == unit).cloned().unwrap_or_default()
    };
    let before = granted(csi.node_get_volume_stats(request.clone()).await);
    let bytes = of(&before, volume_usage::Unit::Bytes);
    assert_eq!(bytes.total, host::filesystem_bytes(&life.target));
    assert_eq!(bytes.available, host::available_bytes(&life.target));
    assert!(bytes.used >= 0 && bytes.used + bytes.available <= bytes.total);
    host::write(&life.target, &"x".repeat(2 * usize::try_from(MIB).unwrap()));
    let after = granted(csi.node_get_volume_stats(request.clone()).await);
    assert!(of(&after, volume_usage::Unit::Bytes).used >= bytes.used + 2 * MIB);
    let inodes = of(&after, volume_usage::Unit::Inodes);
    assert_eq!(inodes.used, of(&before, volume_usage::Unit::Inodes).used + 1);
    assert_eq!(inodes.total, inodes.used + inodes.available);
    granted(life.end().await);
    refused(csi.node_get_volume_stats(request).await, Code::NotFound, &[&life.id()]);
    let device = with(&driver, ask::block()).await;
    granted(device.up().await);
    let request = NodeGetVolumeStatsRequest {
        volume_id: device.id(),
        volume_path: device.target.display().to_string(),
        ..Default::default()
    };
    let stats = granted(csi.node_get_volume_stats(request).await);
    assert_eq!(of(&stats, volume_usage::Unit::Bytes).total, SIZE);
    granted(device.end().await);
}

//= CSI "RPC Interactions": a plugin without STAGE_UNSTAGE_VOLUME is published without being staged.
#[tokio::test(flavor = "multi_thread")]
async fn without_staging_a_publish_is_enough() {
    let setup = Setup::new().option("--orchestrator", "swarm");
    let Some(driver) = setup.start().await else { return };
    let csi = driver.csi();
    let answer = granted(csi.node_get_capabilities(NodeGetCapabilitiesRequest {}).await);
    let stage = i32::from(node_service_capability::rpc::Type::StageUnstageVolume);
    let staged = answer.capabilities.iter().any(|capability| {
        matches!(&capability.r#type,
            Some(node_service_capability::Type::Rpc(rpc)) if rpc.r#type == stage)
    });
    assert!(!staged);
    let life = with(&driver, ask::mount()).await;
    granted(life.publish().await);
    let mut request = life.node_publish_request();
    request.staging_target_path = String::new();
    granted(csi.node_publish_volume(request.clone()).await);
    host::write(&life.target, "unstaged");
    driver.crash().await;
    granted(csi.node_publish_volume(request).await);
    assert_eq!(host::read(&life.target, "unstaged"), "unstaged");
    granted(life.node_unpublish().await);
    granted(life.unpublish().await);
    granted(life.delete().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}
