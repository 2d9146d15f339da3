//! Hosts that lose what they had: their mounts, their devices, their notes.

use std::fs;

use stead_conformance::answer::{granted, refused};
use stead_conformance::ask::{self, MIB};
use stead_conformance::{Driver, Life, Setup, host};
use stead_proto::csi::v1::CreateVolumeRequest;
use tonic::Code;

const TEXT: &str = "from before the reboot";

/// What a reboot takes: the processes, the mounts and the devices, but no file.
async fn reboot(driver: &Driver) {
    driver.kill();
    for mount in host::mounts_below(&driver.path("")).into_iter().rev() {
        nix::mount::umount(&mount.target).unwrap_or_else(|error| panic!("{mount:?}: {error}"));
    }
    for found in host::loops_below(driver.pool().root()) {
        let detached = stead_rig::loops::detach(&found);
        assert!(detached.is_ok(), "{found:?}: {detached:?}");
    }
    driver.start_process().await;
}

async fn after_a_reboot(capability: stead_proto::csi::v1::VolumeCapability) {
    let Some(driver) = Driver::start().await else { return };
    let request =
        CreateVolumeRequest { volume_capabilities: vec![capability], ..ask::create("one") };
    let life = granted(Life::create(&driver, request).await);
    granted(life.up().await);
    host::write(&life.target, TEXT);
    reboot(&driver).await;
    granted(life.up().await);
    assert_eq!(host::read(&life.target, TEXT), TEXT);
    reboot(&driver).await;
    // An orchestrator that gives up on the workload takes everything away instead.
    granted(life.end().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "NodePublishVolume" and "NodeUnpublishVolume": "This operation MUST be idempotent", also where the
//= node rebooted in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_volume_comes_back_after_a_reboot() {
    after_a_reboot(ask::mount()).await;
}

//= CSI "NodePublishVolume", as above.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_volume_comes_back_after_a_reboot() {
    after_a_reboot(ask::block()).await;
}

//= CSI "NodeUnpublishVolume" has no context: where the plugin's own notes are lost, the kernel knows enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_notes_can_take_everything_away() {
    let Some(driver) = Driver::start().await else { return };
    let more = [("static-ip", "auto"), ("subnet", "10.91.8.0/24")];
    let life = granted(Life::create(&driver, ask::create_for("one", "db-0", &more)).await);
    granted(life.up().await);
    driver.kill();
    let notes = driver.state().join("node");
    assert!(notes.is_dir(), "the notes are elsewhere by now");
    fs::remove_dir_all(&notes).unwrap();
    driver.start_process().await;
    granted(life.end().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "CreateVolume", `volume_content_source`: a copy and its original on one host at one time.
#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_used_beside_its_original() {
    let Some(driver) = Driver::start().await else { return };
    for (kind, size) in [("ext4", 16 * MIB), ("xfs", 320 * MIB), ("btrfs", 128 * MIB)] {
        let source = granted(Life::create(&driver, ask::create_with(kind, kind, size)).await);
        granted(source.up().await);
        host::write(&source.target, "of the original");
        granted(source.down().await);
        let clone = CreateVolumeRequest {
            volume_content_source: ask::content_of_volume(source.id()),
            ..ask::create_with(format!("{kind}-clone"), kind, size)
        };
        let clone = granted(Life::create(&driver, clone).await);
        granted(source.up().await);
        match clone.up().await {
            Ok(()) => {}
            // Where the kernel cannot tell them apart, a refusal is right and a mix-up is not.
            Err(status) => panic!("{kind}: {}", status.message()),
        }
        assert_eq!(host::read(&clone.target, "of the original"), "of the original", "{kind}");
        host::write(&clone.target, "of the clone...");
        assert_eq!(host::read(&source.target, "of the original"), "of the original", "{kind}");
        assert_eq!(host::read(&clone.target, "of the clone..."), "of the clone...", "{kind}");
        granted(clone.end().await);
        assert_eq!(host::read(&source.target, "of the original"), "of the original", "{kind}");
        granted(source.end().await);
    }
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "NodeStageVolume": the file system that was asked for, and no other in its place.
#[tokio::test(flavor = "multi_thread")]
async fn another_file_system_than_there_is_is_refused() {
    let Some(driver) = Driver::start().await else { return };
    let life = granted(Life::create(&driver, ask::create_with("one", "ext4", 128 * MIB)).await);
    granted(life.up().await);
    host::write(&life.target, TEXT);
    assert_eq!(host::mount_at(&life.target).map(|mount| mount.kind).as_deref(), Some("ext4"));
    granted(life.down().await);
    let other = ask::create_with("x", "btrfs", 128 * MIB).volume_capabilities.remove(0);
    let other = Life::of(&driver, &driver, life.volume.clone(), other);
    granted(other.publish().await);
    refused(other.stage().await, Code::FailedPrecondition, &["ext4", "btrfs"]);
    granted(other.unpublish().await);
    granted(life.up().await);
    assert_eq!(host::read(&life.target, TEXT), TEXT);
    granted(life.end().await);
}

//= CSI "ControllerPublishVolume Errors": an orchestrator gets the code that it can live with.
#[tokio::test(flavor = "multi_thread")]
async fn nomad_is_told_to_retry_and_never_aborted() {
    let setup = Setup::new().option("--orchestrator", "nomad");
    let Some(driver) = setup.start().await else { return };
    let csi = driver.csi();
    let request = ask::create_for("db[2]", "db-2", &[]);
    let mut hinted = ask::create("web[3]");
    hinted.parameters = ask::map([("stead.dev/cluster", "c")]);
    let volume = granted(csi.create(hinted).await);
    assert_eq!(volume.volume_context["stead.dev/member"], "web-3", "per_alloc volumes name it");
    let (one, other) = tokio::join!(
        csi.create(request.clone()),
        csi.create(CreateVolumeRequest { capacity_range: ask::sized(32 * MIB), ..request })
    );
    for refusal in [one.err(), other.err()].into_iter().flatten() {
        assert_ne!(refusal.code(), Code::Aborted, "{}", refusal.message());
    }
}
