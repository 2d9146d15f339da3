//! Secrets are used and never seen again: in no log, no error and no context.

use std::collections::BTreeMap;

use stead_conformance::answer::granted;
use stead_conformance::ask::{self, MIB};
use stead_conformance::{Driver, Life, Setup, host};
use stead_proto::csi::v1::volume_capability::MountVolume;
use stead_proto::csi::v1::*;
use tonic::Status;

/// The value of every secret.
const SECRET: &str = "hunter2-c7d1";
/// A mount flag that works.
const FLAG: &str = "commit=77";
/// A mount flag that no file system takes, with a credential in it.
const BAD_FLAG: &str = "password=hunter2-flag";

fn secrets() -> BTreeMap<String, String> {
    ask::map([("passphrase", SECRET)])
}

async fn talkative(format: &str) -> Option<Driver> {
    let setup = Setup::new().flag("--alpha-capabilities");
    setup.option("--log-level", "trace").option("--log-format", format).start().await
}

/// That nothing in a text gives a secret away.
#[track_caller]
fn check(what: &str, text: &str) {
    for hidden in [SECRET, "hunter2", FLAG, "passphrase"] {
        if let Some(at) = text.find(hidden) {
            let start = text[..at].rfind('\n').map_or(0, |line| line + 1);
            let line = text[start..].lines().next().unwrap_or_default();
            panic!("{what} shows '{hidden}': {line}");
        }
    }
}

#[track_caller]
fn failed<T>(answer: Result<T, Status>) {
    match answer {
        Ok(_) => panic!("it was meant to fail"),
        Err(status) => check("an error", status.message()),
    }
}

fn capability() -> VolumeCapability {
    ask::mount_with(MountVolume { mount_flags: vec![FLAG.to_owned()], ..Default::default() })
}

/// Every controller procedure that has secrets, granted and refused.
async fn controller(csi: &stead_conformance::Csi, volume: &Volume) {
    let mut create = ask::create("refused");
    create.secrets = secrets();
    create.parameters = ask::map([("no-such-parameter", "x")]);
    create.volume_capabilities = vec![capability()];
    failed(csi.create(create).await);
    let mut snapshot = ask::snapshot("s", &volume.volume_id);
    snapshot.secrets = secrets();
    let taken = granted(csi.snapshot(snapshot).await);
    let mut refused = ask::snapshot("s", "no-such-volume");
    refused.secrets = secrets();
    failed(csi.snapshot(refused).await);
    let get = GetSnapshotRequest { snapshot_id: taken.snapshot_id.clone(), secrets: secrets() };
    granted(csi.get_snapshot(get).await);
    let list = ListSnapshotsRequest { secrets: secrets(), ..Default::default() };
    granted(csi.list_snapshots(list).await);
    let delete = DeleteSnapshotRequest { snapshot_id: taken.snapshot_id, secrets: secrets() };
    granted(csi.delete_snapshot(delete).await);
    let validate = ValidateVolumeCapabilitiesRequest {
        volume_id: volume.volume_id.clone(),
        volume_capabilities: vec![capability()],
        secrets: secrets(),
        ..Default::default()
    };
    granted(csi.validate_volume_capabilities(validate).await);
    let modify = |value: &str| ControllerModifyVolumeRequest {
        volume_id: volume.volume_id.clone(),
        secrets: secrets(),
        mutable_parameters: ask::map([("directIo", value)]),
    };
    granted(csi.controller_modify_volume(modify("off")).await);
    failed(csi.controller_modify_volume(modify("maybe")).await);
    let expand = ControllerExpandVolumeRequest {
        volume_id: volume.volume_id.clone(),
        capacity_range: ask::sized(24 * MIB),
        secrets: secrets(),
        volume_capability: Some(capability()),
    };
    granted(csi.controller_expand_volume(expand).await);
    let health = ControllerGetVolumeHealthRequest {
        volume_id: volume.volume_id.clone(),
        secrets: secrets(),
    };
    granted(csi.controller_get_volume_health(health).await);
    let health = ControllerListVolumeHealthRequest { secrets: secrets(), ..Default::default() };
    granted(csi.controller_list_volume_health(health).await);
}

/// Every procedure of groups that has secrets.
async fn groups(csi: &stead_conformance::Csi, volume: &Volume) {
    let create = |id: &str| CreateVolumeGroupSnapshotRequest {
        name: "group".to_owned(),
        source_volume_ids: vec![id.to_owned()],
        secrets: secrets(),
        ..Default::default()
    };
    failed(csi.create_volume_group_snapshot(create("no-such-volume")).await);
    let group = granted(csi.create_volume_group_snapshot(create(&volume.volume_id)).await);
    let group = group.group_snapshot.unwrap_or_default();
    let id = group.group_snapshot_id;
    let snapshot_ids: Vec<_> = group.snapshots.into_iter().map(|s| s.snapshot_id).collect();
    let get = GetVolumeGroupSnapshotRequest {
        group_snapshot_id: id.clone(),
        snapshot_ids: snapshot_ids.clone(),
        secrets: secrets(),
    };
    granted(csi.get_volume_group_snapshot(get).await);
    let delete = DeleteVolumeGroupSnapshotRequest {
        group_snapshot_id: id,
        snapshot_ids,
        secrets: secrets(),
    };
    granted(csi.delete_volume_group_snapshot(delete).await);
}

/// Every node procedure that has secrets or mount flags, granted and refused.
async fn node(csi: &stead_conformance::Csi, life: &Life) {
    let bad = ask::mount_with(MountVolume {
        mount_flags: vec![BAD_FLAG.to_owned()],
        ..Default::default()
    });
    let mut stage = life.stage_request();
    stage.secrets = secrets();
    stage.volume_capability = Some(bad.clone());
    failed(csi.node_stage_volume(stage.clone()).await);
    stage.volume_capability = Some(capability());
    granted(csi.node_stage_volume(stage.clone()).await);
    let mounted = host::mount_at(&life.staging);
    let options = mounted.map(|mount| mount.options).unwrap_or_default();
    assert!(options.iter().any(|option| option == FLAG), "{options:?}");
    stage.volume_capability = Some(bad.clone());
    failed(csi.node_stage_volume(stage).await);
    let mut publish = life.node_publish_request();
    publish.secrets = secrets();
    publish.volume_capability = Some(capability());
    granted(csi.node_publish_volume(publish.clone()).await);
    publish.volume_capability = Some(bad);
    failed(csi.node_publish_volume(publish).await);
    let expand = NodeExpandVolumeRequest {
        volume_id: life.id(),
        volume_path: life.target.display().to_string(),
        staging_target_path: life.staging.display().to_string(),
        volume_capability: Some(capability()),
        secrets: secrets(),
        ..Default::default()
    };
    granted(csi.node_expand_volume(expand.clone()).await);
    failed(
        csi.node_expand_volume(NodeExpandVolumeRequest {
            volume_path: "/no/such/path".to_owned(),
            ..expand
        })
        .await,
    );
    let health = NodeGetStorageHealthRequest { secrets: secrets() };
    granted(csi.node_get_storage_health(health).await);
}

async fn everything(format: &str) {
    let Some(driver) = talkative(format).await else { return };
    let csi = driver.csi();
    let mut create = ask::create_for("one", "db-0", &[]);
    create.secrets = secrets();
    create.volume_capabilities = vec![capability()];
    let life = granted(Life::create(&driver, create).await);
    check("volume_context", &format!("{:?}", life.volume));
    controller(&csi, &life.volume).await;
    groups(&csi, &life.volume).await;
    let mut publish = life.publish_request();
    publish.secrets = secrets();
    let answer = granted(csi.controller_publish_volume(publish.clone()).await);
    check("publish_context", &format!("{:?}", answer.publish_context));
    publish.node_id = "no-such-node".to_owned();
    failed(csi.controller_publish_volume(publish).await);
    granted(life.publish().await);
    node(&csi, &life).await;
    granted(life.node_unpublish().await);
    granted(life.unstage().await);
    let unpublish = ControllerUnpublishVolumeRequest {
        volume_id: life.id(),
        node_id: driver.node.clone(),
        secrets: secrets(),
    };
    granted(csi.controller_unpublish_volume(unpublish).await);
    let delete = DeleteVolumeRequest { volume_id: life.id(), secrets: secrets() };
    granted(csi.delete_volume(delete).await);
    let log = driver.log();
    assert!(log.contains("TRACE"), "the log is not as talkative as it can be");
    check("the log", &log);
    let state = walk(&driver.state());
    assert!(!state.is_empty());
    for (path, bytes) in state {
        check(&path, &String::from_utf8_lossy(&bytes));
    }
}

/// Every file below a folder.
fn walk(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else if path.is_file() {
            files.push((path.display().to_string(), std::fs::read(&path).unwrap_or_default()));
        }
    }
    files
}

//= CSI "Secrets Requirements": "a Plugin SHALL NOT leak" secrets; the field option `csi_secret`: "a field
//= MAY contain information that is sensitive and MUST be treated as such (e.g. not logged) by the CO and
//= the Plugin"; "MountVolume.mount_flags": "This field [...] contains sensitive information".
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_seen_in_a_log_for_people() {
    everything("human").await;
}

//= CSI "Secrets Requirements", as above.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_seen_in_a_log_for_machines() {
    everything("json").await;
}
