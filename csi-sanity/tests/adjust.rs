//! A volume that is looked at, changed and grown.

use stead_conformance::answer::{granted, refused};
use stead_conformance::ask::{self, MIB, SIZE};
use stead_conformance::{Csi, Driver, Life, host};
use stead_proto::csi::v1::*;
use tonic::{Code, Status};

fn modify(volume_id: &str, pairs: &[(&str, &str)]) -> ControllerModifyVolumeRequest {
    ControllerModifyVolumeRequest {
        volume_id: volume_id.to_owned(),
        mutable_parameters: ask::map(pairs.iter().copied()),
        ..Default::default()
    }
}

async fn expand(csi: &Csi, volume_id: &str, bytes: i64) -> Result<i64, Status> {
    let request = ControllerExpandVolumeRequest {
        volume_id: volume_id.to_owned(),
        capacity_range: ask::sized(bytes),
        ..Default::default()
    };
    let answer = csi.controller_expand_volume(request).await?;
    assert!(answer.node_expansion_required, "a loop device learns of it from its node");
    Ok(answer.capacity_bytes)
}

fn node_expand(life: &Life, bytes: i64) -> NodeExpandVolumeRequest {
    NodeExpandVolumeRequest {
        volume_id: life.id(),
        volume_path: life.target.display().to_string(),
        capacity_range: ask::sized(bytes),
        staging_target_path: life.staging.display().to_string(),
        volume_capability: Some(life.capability.clone()),
        ..Default::default()
    }
}

//= CSI "ControllerGetVolume": "The SP MUST [...] return the current information of the volume".
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_shown_as_it_is_now() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let life = granted(Life::create(&driver, ask::create("one")).await);
    let get = ControllerGetVolumeRequest { volume_id: life.id() };
    let nodes = |answer: ControllerGetVolumeResponse| {
        (answer.volume, answer.status.map(|status| status.published_node_ids))
    };
    let shown = nodes(granted(csi.controller_get_volume(get.clone()).await));
    assert_eq!(shown, (Some(life.volume.clone()), Some(Vec::new())));
    granted(life.publish().await);
    granted(expand(&csi, &life.id(), 24 * MIB).await);
    let shown = nodes(granted(csi.controller_get_volume(get.clone()).await));
    let grown = Volume { capacity_bytes: 24 * MIB, ..life.volume.clone() };
    assert_eq!(shown, (Some(grown), Some(vec![driver.node.clone()])));
    granted(life.unpublish().await);
    granted(life.delete().await);
    refused(csi.controller_get_volume(get).await, Code::NotFound, &[&life.id()]);
    let unnamed = csi.controller_get_volume(ControllerGetVolumeRequest::default()).await;
    refused(unnamed, Code::InvalidArgument, &["volume_id"]);
}

//= CSI "ControllerModifyVolume": "the SP [...] MUST [...] either all [...] or none"; "Unsupported
//= mutable_parameters | 3 INVALID_ARGUMENT".
#[tokio::test(flavor = "multi_thread")]
async fn a_modification_is_made_whole_or_not_at_all() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let life = granted(Life::create(&driver, ask::create("one")).await);
    let direct_io = async || {
        granted(life.publish().await);
        let told = life.publish_context().get("pool.stead.dev/direct-io").cloned();
        granted(life.unpublish().await);
        told.unwrap_or_default()
    };
    assert_eq!(direct_io().await, "auto");
    let bad = modify(&life.id(), &[("directIo", "off"), ("noSuchParameter", "1")]);
    refused(csi.controller_modify_volume(bad).await, Code::InvalidArgument, &["noSuchParameter"]);
    let bad = modify(&life.id(), &[("directIo", "off"), ("provisioning", "thick")]);
    let sentence =
        refused(csi.controller_modify_volume(bad).await, Code::InvalidArgument, &["provisioning"]);
    assert!(sentence.contains("directIo"), "which may change? {sentence}");
    let bad = modify(&life.id(), &[("directIo", "perhaps")]);
    refused(csi.controller_modify_volume(bad).await, Code::InvalidArgument, &["perhaps", "auto"]);
    assert_eq!(direct_io().await, "auto", "something was applied");
    for _ in 0..2 {
        granted(csi.controller_modify_volume(modify(&life.id(), &[("directIo", "off")])).await);
    }
    assert_eq!(direct_io().await, "off");
    // An absent key is no reset, and a restart no change.
    granted(csi.controller_modify_volume(modify(&life.id(), &[])).await);
    driver.crash().await;
    assert_eq!(direct_io().await, "off");
    let unknown = csi.controller_modify_volume(modify("no-such-volume", &[])).await;
    refused(unknown, Code::NotFound, &["no-such-volume"]);
}

//= CSI "CreateVolumeRequest.mutable_parameters": "take precedence over" `parameters`.
#[tokio::test(flavor = "multi_thread")]
async fn mutable_parameters_win_when_a_volume_is_made() {
    let Some(driver) = Driver::start().await else { return };
    let mut request = ask::create("one");
    request.parameters = ask::map([("directIo", "on")]);
    request.mutable_parameters = ask::map([("directIo", "off")]);
    let life = granted(Life::create(&driver, request).await);
    granted(life.publish().await);
    assert_eq!(life.publish_context()["pool.stead.dev/direct-io"], "off");
}

//= CSI "ControllerExpandVolume": "This operation MUST be idempotent. If a volume [...] is already larger
//= than or equal to the target capacity [...] the plugin SHOULD reply 0 OK".
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_grows_while_nobody_uses_it() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    for (kind, size) in host::GROWING {
        let request = ask::create_with(kind, kind, size);
        let life = granted(Life::create(&driver, request).await);
        granted(life.up().await);
        host::write(&life.target, "from before");
        let before = host::filesystem_bytes(&life.target);
        granted(life.down().await);
        let larger = size + 64 * MIB;
        assert_eq!(granted(expand(&csi, &life.id(), larger).await), larger);
        assert_eq!(granted(expand(&csi, &life.id(), larger).await), larger);
        assert_eq!(granted(expand(&csi, &life.id(), size).await), larger, "a volume never shrinks");
        granted(life.up().await);
        granted(csi.node_expand_volume(node_expand(&life, larger)).await);
        let after = host::filesystem_bytes(&life.target);
        assert!(after > before + 32 * MIB, "{kind}: {before} became {after}");
        assert_eq!(host::read(&life.target, "from before"), "from before");
        granted(life.end().await);
    }
}

//= CSI "NodeExpandVolume": "the volume [...] `volume_path`"; ONLINE expansion.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_grows_while_its_workload_runs() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    for (kind, size) in host::growing_mounted() {
        let request = ask::create_with(kind, kind, size);
        let life = granted(Life::create(&driver, request).await);
        granted(life.up().await);
        host::write(&life.target, "from before");
        let open = std::fs::File::open(life.target.join("data")).unwrap();
        let before = host::filesystem_bytes(&life.target);
        let larger = size + 64 * MIB;
        let early = csi.node_expand_volume(node_expand(&life, larger)).await;
        refused(early, Code::OutOfRange, &["ControllerExpandVolume"]);
        granted(expand(&csi, &life.id(), larger).await);
        for _ in 0..2 {
            let answer = granted(csi.node_expand_volume(node_expand(&life, larger)).await);
            assert_eq!(answer.capacity_bytes, larger);
        }
        let after = host::filesystem_bytes(&life.target);
        assert!(after > before + 32 * MIB, "{kind}: {before} became {after}");
        drop(open);
        assert_eq!(host::read(&life.target, "from before"), "from before");
        granted(life.end().await);
    }
}

//= CSI "NodeExpandVolume", for a block volume.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_grows_while_its_workload_runs() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let request =
        CreateVolumeRequest { volume_capabilities: vec![ask::block()], ..ask::create("one") };
    let life = granted(Life::create(&driver, request).await);
    granted(life.up().await);
    assert_eq!(host::device_bytes(&life.target), SIZE);
    host::write(&life.target, "from before");
    granted(expand(&csi, &life.id(), 32 * MIB).await);
    granted(csi.node_expand_volume(node_expand(&life, 32 * MIB)).await);
    assert_eq!(host::device_bytes(&life.target), 32 * MIB);
    assert_eq!(host::read(&life.target, "from before"), "from before");
    granted(life.end().await);
}

//= CSI "ControllerExpandVolume Errors": "Volume does not exist | 5 NOT_FOUND", "Unsupported
//= `capacity_range` | 11 OUT_OF_RANGE", and a missing field.
#[tokio::test(flavor = "multi_thread")]
async fn a_growth_that_cannot_be_is_refused() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let volume = granted(csi.create(ask::create("one")).await).volume_id;
    refused(expand(&csi, "no-such-volume", SIZE).await, Code::NotFound, &["no-such-volume"]);
    refused(expand(&csi, &volume, -1).await, Code::OutOfRange, &["-1"]);
    let below = ControllerExpandVolumeRequest {
        volume_id: volume.clone(),
        capacity_range: Some(CapacityRange { required_bytes: 0, limit_bytes: MIB }),
        ..Default::default()
    };
    refused(csi.controller_expand_volume(below).await, Code::OutOfRange, &["limit"]);
    let without = ControllerExpandVolumeRequest { volume_id: volume.clone(), ..Default::default() };
    refused(
        csi.controller_expand_volume(without).await,
        Code::InvalidArgument,
        &["capacity_range"],
    );
    let node = NodeExpandVolumeRequest {
        volume_id: volume,
        volume_path: driver.path("nowhere").display().to_string(),
        ..Default::default()
    };
    refused(csi.node_expand_volume(node).await, Code::NotFound, &[]);
}
