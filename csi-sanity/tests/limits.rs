//! The specification's limits: what is on the line is taken, one byte more is refused.

use std::collections::BTreeMap;

use stead_conformance::answer::{granted, refused};
use stead_conformance::ask;
use stead_conformance::{Driver, Life};
use stead_proto::csi::v1::*;
use tonic::Code;

/// A map whose keys and values have this many bytes together; no driver knows its keys.
fn map_of(bytes: usize) -> BTreeMap<String, String> {
    let key = "csi.storage.k8s.io/x";
    BTreeMap::from([(key.to_owned(), "v".repeat(bytes - key.len()))])
}

//= CSI "Size Limits": "the maximum size of a string field is 128 bytes".
#[tokio::test(flavor = "multi_thread")]
async fn a_name_has_128_bytes_at_most() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let longest = granted(csi.create(ask::create("n".repeat(128))).await);
    assert!(longest.volume_id.len() <= 128);
    refused(
        csi.create(ask::create("n".repeat(129))).await,
        Code::InvalidArgument,
        &["name", "128"],
    );
    granted(csi.snapshot(ask::snapshot("s".repeat(128), &longest.volume_id)).await);
    let snapshot = csi.snapshot(ask::snapshot("s".repeat(129), &longest.volume_id)).await;
    refused(snapshot, Code::InvalidArgument, &["name", "128"]);
    let group = |name: String| CreateVolumeGroupSnapshotRequest {
        name,
        source_volume_ids: vec![longest.volume_id.clone()],
        ..Default::default()
    };
    granted(csi.create_volume_group_snapshot(group("g".repeat(128))).await);
    let group = csi.create_volume_group_snapshot(group("g".repeat(129))).await;
    refused(group, Code::InvalidArgument, &["name", "128"]);
}

//= CSI "CreateVolumeRequest": "Any Unicode string that conforms to the length limit is allowed except
//= those containing the following banned characters: U+0000-U+0008, U+000B, U+000C, U+000E-U+001F,
//= U+007F-U+009F. (These are control characters other than commonly used whitespace.)"
#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_any_unicode_but_control_characters() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let names =
        ["данные-0", "資料庫", "🐘 0", "a/b", "../../etc/passwd", ".", "-rf", "a'b\"c;d$(e)"];
    let mut ids = std::collections::BTreeSet::new();
    for name in names {
        let volume = granted(csi.create(ask::create(name)).await);
        assert_eq!(granted(csi.create(ask::create(name)).await), volume, "{name}");
        ids.insert(volume.volume_id);
    }
    assert_eq!(ids.len(), names.len());
    // 128 bytes of four-byte characters are 32 of them.
    granted(csi.create(ask::create("🐘".repeat(32))).await);
    refused(csi.create(ask::create("🐘".repeat(33))).await, Code::InvalidArgument, &["128"]);
    for banned in ['\0', '\u{8}', '\u{b}', '\u{1b}', '\u{7f}', '\u{85}', '\u{9f}'] {
        let name = format!("a{banned}b");
        let sentence =
            refused(csi.create(ask::create(&name)).await, Code::InvalidArgument, &["name"]);
        assert!(!sentence.contains(banned), "a control character reached the terminal");
        let snapshot = csi.snapshot(ask::snapshot(&name, ids.first().unwrap())).await;
        refused(snapshot, Code::InvalidArgument, &["name"]);
    }
}

//= CSI "Size Limits": "the maximum size of a map<string, string> field is 4 KiB".
#[tokio::test(flavor = "multi_thread")]
async fn a_map_has_4096_bytes_at_most() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let with = |set: &dyn Fn(&mut CreateVolumeRequest)| {
        let mut request = ask::create("fits");
        set(&mut request);
        request
    };
    let volume = granted(csi.create(with(&|request| request.parameters = map_of(4096))).await);
    let again = with(&|request| {
        request.parameters = map_of(4096);
        request.secrets = map_of(4096);
    });
    assert_eq!(granted(csi.create(again).await), volume);
    let parameters = with(&|request| request.parameters = map_of(4097));
    refused(csi.create(parameters).await, Code::InvalidArgument, &["parameters", "4096"]);
    let secrets = with(&|request| request.secrets = map_of(4097));
    refused(csi.create(secrets).await, Code::InvalidArgument, &["secrets", "4096"]);
    let mutable = with(&|request| request.mutable_parameters = map_of(4097));
    refused(csi.create(mutable).await, Code::InvalidArgument, &["mutable_parameters", "4096"]);
    let mut snapshot = ask::snapshot("s", &volume.volume_id);
    snapshot.parameters = map_of(4097);
    refused(csi.snapshot(snapshot).await, Code::InvalidArgument, &["parameters", "4096"]);
}

//= CSI "Size Limits", as above, for what a publish and a node are given.
#[tokio::test(flavor = "multi_thread")]
async fn the_maps_of_a_publish_and_of_a_node_have_4096_bytes_at_most() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let life = granted(Life::create(&driver, ask::create("one")).await);
    let mut publish = life.publish_request();
    publish.secrets = map_of(4097);
    let answer = csi.controller_publish_volume(publish).await;
    refused(answer, Code::InvalidArgument, &["secrets", "4096"]);
    let mut publish = life.publish_request();
    publish.volume_context = map_of(4097);
    let answer = csi.controller_publish_volume(publish).await;
    refused(answer, Code::InvalidArgument, &["volume_context", "4096"]);
    granted(life.publish().await);
    let mut stage = life.stage_request();
    stage.secrets = map_of(4097);
    refused(csi.node_stage_volume(stage).await, Code::InvalidArgument, &["secrets", "4096"]);
    let mut stage = life.stage_request();
    stage.secrets = map_of(4096);
    granted(csi.node_stage_volume(stage).await);
    let mut publish = life.node_publish_request();
    publish.secrets = map_of(4097);
    refused(csi.node_publish_volume(publish).await, Code::InvalidArgument, &["secrets", "4096"]);
    granted(life.node_publish().await);
    let expand = NodeExpandVolumeRequest {
        volume_id: life.id(),
        volume_path: life.target.display().to_string(),
        secrets: map_of(4097),
        ..Default::default()
    };
    refused(csi.node_expand_volume(expand).await, Code::InvalidArgument, &["secrets", "4096"]);
    granted(life.down().await);
    let unpublish = ControllerUnpublishVolumeRequest {
        volume_id: life.id(),
        secrets: map_of(4097),
        ..Default::default()
    };
    let answer = csi.controller_unpublish_volume(unpublish).await;
    refused(answer, Code::InvalidArgument, &["secrets", "4096"]);
    granted(life.delete().await);
}

//= CSI "Size Limits", as above, for everything else that is done to a volume.
#[tokio::test(flavor = "multi_thread")]
async fn no_procedure_takes_secrets_above_4096_bytes() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let volume_id = granted(csi.create(ask::create("one")).await).volume_id;
    let snapshot_id = granted(csi.snapshot(ask::snapshot("s", &volume_id)).await).snapshot_id;
    let words = ["secrets", "4096"];
    let (invalid, secrets) = (Code::InvalidArgument, map_of(4097));
    let expand = ControllerExpandVolumeRequest {
        volume_id: volume_id.clone(),
        capacity_range: ask::sized(ask::SIZE),
        secrets: secrets.clone(),
        ..Default::default()
    };
    refused(csi.controller_expand_volume(expand).await, invalid, &words);
    let modify = ControllerModifyVolumeRequest {
        volume_id: volume_id.clone(),
        secrets: secrets.clone(),
        ..Default::default()
    };
    refused(csi.controller_modify_volume(modify).await, invalid, &words);
    let validate = ValidateVolumeCapabilitiesRequest {
        volume_id: volume_id.clone(),
        volume_capabilities: vec![ask::mount()],
        secrets: secrets.clone(),
        ..Default::default()
    };
    refused(csi.validate_volume_capabilities(validate).await, invalid, &words);
    let list = ListSnapshotsRequest { secrets: secrets.clone(), ..Default::default() };
    refused(csi.list_snapshots(list).await, invalid, &words);
    let delete = DeleteSnapshotRequest { snapshot_id, secrets: secrets.clone() };
    refused(csi.delete_snapshot(delete).await, invalid, &words);
    let group = DeleteVolumeGroupSnapshotRequest {
        group_snapshot_id: "no-such-group".to_owned(),
        secrets: secrets.clone(),
        ..Default::default()
    };
    refused(csi.delete_volume_group_snapshot(group).await, invalid, &words);
    refused(csi.delete_volume(DeleteVolumeRequest { volume_id, secrets }).await, invalid, &words);
}

//= CSI "Size Limits", and "CreateVolumeResponse": "Volume context [...] This field is OPTIONAL and when
//= present MUST be passed to volume validation and usage requests", so it has to fit there.
#[tokio::test(flavor = "multi_thread")]
async fn the_context_of_the_longest_identity_is_below_4096_bytes() {
    let Some(driver) = Driver::start().await else { return };
    let member = format!("{}-0", "m".repeat(60));
    let mut request = ask::create_for(
        "v",
        &member,
        &[("static-ip", "auto"), ("subnet", "10.91.7.0/24,fd91::/64"), ("role", "data")],
    );
    request.parameters.insert("stead.dev/cluster".to_owned(), "c".repeat(63));
    let volume = granted(driver.csi().create(request).await);
    let bytes: usize = volume.volume_context.iter().map(|(k, v)| k.len() + v.len()).sum();
    assert!(bytes <= 4096, "{bytes}");
    assert!(volume.volume_context.keys().all(|key| key.len() <= 128));
}

//= CSI "NodeGetInfoResponse": "The identifier of the node [...] SHALL NOT exceed 256 bytes".
#[tokio::test(flavor = "multi_thread")]
async fn a_node_id_has_256_bytes_at_most() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let life = granted(Life::create(&driver, ask::create("one")).await);
    let mut publish = life.publish_request();
    publish.node_id = "n".repeat(256);
    let answer = csi.controller_publish_volume(publish.clone()).await;
    refused(answer, Code::NotFound, &["node"]);
    publish.node_id = "n".repeat(257);
    let answer = csi.controller_publish_volume(publish).await;
    refused(answer, Code::InvalidArgument, &["node", "256"]);
    let info = granted(csi.node_get_info(NodeGetInfoRequest {}).await);
    assert_eq!(info.node_id, driver.node);
}

//= CSI "Size Limits"; a handle of any other form is one that we never gave: NOT_FOUND, or OK where
//= absent is success.
#[tokio::test(flavor = "multi_thread")]
async fn a_handle_of_any_form_is_looked_up_and_not_parsed() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    for id in ["fake-vol-id", "../../etc", "vol-", "том", "vol-00000000000000000000000000000000"]
    {
        granted(csi.delete_volume(ask::delete(id)).await);
        let get = ControllerGetVolumeRequest { volume_id: id.to_owned() };
        refused(csi.controller_get_volume(get).await, Code::NotFound, &[id]);
        let snapshot = DeleteSnapshotRequest { snapshot_id: id.to_owned(), ..Default::default() };
        granted(csi.delete_snapshot(snapshot).await);
        let unstage = NodeUnstageVolumeRequest {
            volume_id: id.to_owned(),
            staging_target_path: driver.path("nowhere").display().to_string(),
        };
        granted(csi.node_unstage_volume(unstage).await);
    }
    assert!(driver.pool().volumes().is_dir());
}
