//! Snapshots, groups of them, and what is made of them.

use stead_conformance::answer::{granted, refused};
use stead_conformance::ask::{self, MIB, SIZE};
use stead_conformance::{Disk, Driver, Life, Setup, host};
use stead_proto::csi::v1::*;
use tonic::Code;

/// A volume with a text in it, detached.
async fn written(driver: &Driver, name: &str, text: &str) -> Life {
    let life = granted(Life::create(driver, ask::create(name)).await);
    rewrite(&life, text).await;
    life
}

async fn rewrite(life: &Life, text: &str) {
    granted(life.up().await);
    host::write(&life.target, text);
    granted(life.down().await);
}

/// That a new volume with this content has the text.
async fn check(driver: &Driver, request: CreateVolumeRequest, text: &str) {
    let life = granted(Life::create(driver, request).await);
    granted(life.up().await);
    assert_eq!(host::read(&life.target, text), text);
    granted(life.end().await);
}

fn from_snapshot(name: &str, snapshot_id: &str) -> CreateVolumeRequest {
    let volume_content_source = ask::content_of_snapshot(snapshot_id);
    CreateVolumeRequest { volume_content_source, ..ask::create(name) }
}

fn from_volume(name: &str, volume_id: &str) -> CreateVolumeRequest {
    let volume_content_source = ask::content_of_volume(volume_id);
    CreateVolumeRequest { volume_content_source, ..ask::create(name) }
}

fn gone(snapshot_id: &str) -> DeleteSnapshotRequest {
    DeleteSnapshotRequest { snapshot_id: snapshot_id.to_owned(), ..Default::default() }
}

//= CSI "CreateSnapshot" and "CreateVolume", `volume_content_source`: a volume from a snapshot has what the
//= source had when the snapshot was cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_volume_has_what_was_there_at_the_cut() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let source = written(&driver, "source", "before").await;
    let snapshot = granted(csi.snapshot(ask::snapshot("s", source.id())).await);
    assert!(snapshot.ready_to_use && snapshot.creation_time.is_some());
    assert_eq!((snapshot.size_bytes, &snapshot.source_volume_id), (SIZE, &source.id()));
    rewrite(&source, "after!").await;
    check(&driver, from_snapshot("restored", &snapshot.snapshot_id), "before").await;
    // It does not need the source any more (CSI "DeleteVolume": the plugin may treat them as independent).
    granted(source.delete().await);
    check(&driver, from_snapshot("restored", &snapshot.snapshot_id), "before").await;
    granted(csi.delete_snapshot(gone(&snapshot.snapshot_id)).await);
    let again = csi.create(from_snapshot("restored", &snapshot.snapshot_id)).await;
    refused(again, Code::NotFound, &[&snapshot.snapshot_id]);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "CreateSnapshot": "This operation MUST be idempotent"; "Snapshot already exists but is
//= incompatible | 6 ALREADY_EXISTS".
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshots_name_stands_for_one_snapshot_of_one_volume() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let a = granted(csi.create(ask::create("a")).await).volume_id;
    let b = granted(csi.create(ask::create("b")).await).volume_id;
    let taken = granted(csi.snapshot(ask::snapshot("s", &a)).await);
    assert_eq!(granted(csi.snapshot(ask::snapshot("s", &a)).await), taken);
    refused(csi.snapshot(ask::snapshot("s", &b)).await, Code::AlreadyExists, &["s", &a]);
    refused(csi.snapshot(ask::snapshot("t", "no-such-volume")).await, Code::NotFound, &["no-such"]);
    granted(csi.delete_snapshot(gone(&taken.snapshot_id)).await);
    granted(csi.delete_snapshot(gone(&taken.snapshot_id)).await);
    granted(csi.snapshot(ask::snapshot("s", &b)).await);
}

//= CSI "CreateSnapshot": "the Plugin [...] ensure [...] the snapshot is cut" while the volume is in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_a_volume_in_use_is_whole_or_refused_with_a_reason() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let source = granted(Life::create(&driver, ask::create("source")).await);
    granted(source.up().await);
    host::write(&source.target, "in use");
    match csi.snapshot(ask::snapshot("s", source.id())).await {
        Ok(snapshot) => {
            check(&driver, from_snapshot("restored", &snapshot.snapshot_id), "in use").await;
        }
        // A file system that cannot copy in one step would give a torn one.
        Err(status) => {
            assert_eq!(status.code(), Code::FailedPrecondition, "{}", status.message());
            assert!(status.message().contains(&driver.node), "{}", status.message());
            let listed = granted(csi.list_snapshots(ListSnapshotsRequest::default()).await);
            assert_eq!(listed.entries.len(), 0, "a refused snapshot is listed");
        }
    }
    granted(source.down().await);
    granted(csi.snapshot(ask::snapshot("s", source.id())).await);
}

//= CSI "CreateSnapshot", as above, where the pool can copy in one step.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_in_use_is_copied_where_the_pool_can_copy_in_one_step() {
    let Some(disk) = Disk::sharing(400 * MIB) else { return };
    let Some(driver) = Setup::new().on(&disk).start().await else { return };
    let csi = driver.csi();
    let source = granted(Life::create(&driver, ask::create("source")).await);
    granted(source.up().await);
    host::write(&source.target, "in use");
    let snapshot = granted(csi.snapshot(ask::snapshot("s", source.id())).await);
    host::write(&source.target, "later!");
    check(&driver, from_snapshot("restored", &snapshot.snapshot_id), "in use").await;
    check(&driver, from_volume("clone", &source.id()), "later!").await;
    granted(source.end().await);
}

//= CSI "CreateSnapshot" and "NodeStageVolume": no path formats what may have data, and a copy of a volume
//= whose file system was just being made may have some.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_taken_while_a_file_system_is_made_is_never_formatted() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("mkfs.ext4");
    // It makes the file system with data in it, and ends only later.
    let content = folder.path().join("content");
    std::fs::create_dir(&content).unwrap();
    std::fs::write(content.join("data"), "as good as written").unwrap();
    let script = format!(
        "#!/bin/sh\n[ -e $0.once ] && exec /usr/sbin/mkfs.ext4 \"$@\"\n\
         /usr/sbin/mkfs.ext4 -d {} \"$@\" && sync && touch $0.once && exec sleep 5\n",
        content.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.path().display());
    let Some(disk) = Disk::sharing(400 * MIB) else { return };
    let setup = Setup::new().on(&disk).variable("PATH", path);
    let Some(driver) = setup.start().await else { return };
    let csi = driver.csi();
    let source = granted(Life::create(&driver, ask::create("source")).await);
    granted(source.publish().await);
    let (staged, ()) = tokio::join!(source.stage(), async {
        while !folder.path().join("mkfs.ext4.once").exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let snapshot = granted(csi.snapshot(ask::snapshot("s", source.id())).await);
        let restored = from_snapshot("restored", &snapshot.snapshot_id);
        check(&driver, restored, "as good as written").await;
        check(&driver, from_volume("clone", &source.id()), "as good as written").await;
    });
    granted(staged);
    granted(source.node_publish().await);
    assert_eq!(host::read(&source.target, "as good as written"), "as good as written");
    granted(source.end().await);
}

//= CSI "CreateVolume": "the Plugin MUST [...] the filesystem of a volume that is larger than its source
//= [...] be expanded" before or at NodePublishVolume.
#[tokio::test(flavor = "multi_thread")]
async fn a_clone_may_be_larger_and_shows_it() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let source = written(&driver, "source", "cloned").await;
    check(&driver, from_volume("same-size", &source.id()), "cloned").await;
    for (kind, size) in host::GROWING {
        let source = granted(Life::create(&driver, ask::create_with(kind, kind, size)).await);
        granted(source.up().await);
        host::write(&source.target, "cloned");
        let before = host::filesystem_bytes(&source.target);
        granted(source.down().await);
        let snapshot = granted(csi.snapshot(ask::snapshot(kind, source.id())).await);
        let larger = size + 64 * MIB;
        for content in
            [ask::content_of_volume(source.id()), ask::content_of_snapshot(&snapshot.snapshot_id)]
        {
            let request = ask::create_with("larger", kind, larger);
            let request = CreateVolumeRequest { volume_content_source: content, ..request };
            let clone = granted(Life::create(&driver, request).await);
            assert_eq!(clone.volume.capacity_bytes, larger);
            assert!(clone.volume.content_source.is_some(), "the answer names no source");
            granted(clone.up().await);
            let bytes = host::filesystem_bytes(&clone.target);
            assert!(bytes > before + 32 * MIB, "{kind}: {before} became {bytes}");
            assert_eq!(host::read(&clone.target, "cloned"), "cloned");
            granted(clone.end().await);
        }
    }
    let mut smaller = from_volume("smaller", &source.id());
    smaller.capacity_range = Some(CapacityRange { required_bytes: 8 * MIB, limit_bytes: 8 * MIB });
    refused(csi.create(smaller).await, Code::OutOfRange, &[]);
    let missing = csi.create(from_volume("orphan", "no-such-volume")).await;
    refused(missing, Code::NotFound, &["no-such-volume"]);
}

/// Two written volumes and a group of them.
async fn group_of_two(driver: &Driver) -> ([Life; 2], VolumeGroupSnapshot) {
    let lives = [written(driver, "a", "text of a").await, written(driver, "b", "text of b").await];
    let request = group_request("group", lives.iter().map(Life::id).collect());
    let answer = granted(driver.csi().create_volume_group_snapshot(request).await);
    (lives, answer.group_snapshot.unwrap_or_default())
}

fn group_request(name: &str, source_volume_ids: Vec<String>) -> CreateVolumeGroupSnapshotRequest {
    let name = name.to_owned();
    CreateVolumeGroupSnapshotRequest { name, source_volume_ids, ..Default::default() }
}

fn ids(group: &VolumeGroupSnapshot) -> Vec<String> {
    group.snapshots.iter().map(|snapshot| snapshot.snapshot_id.clone()).collect()
}

//= CSI "CreateVolumeGroupSnapshot": "This operation MUST be idempotent"; "all snapshots [...] MUST have
//= [...] `group_snapshot_id`".
#[tokio::test(flavor = "multi_thread")]
async fn a_group_has_a_snapshot_of_each_volume_and_can_be_restored() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let (lives, group) = group_of_two(&driver).await;
    assert!(group.ready_to_use && group.creation_time.is_some());
    assert_eq!(group.snapshots.len(), 2);
    assert!(group.snapshots.iter().all(|s| s.group_snapshot_id == group.group_snapshot_id));
    let request = group_request("group", lives.iter().rev().map(Life::id).collect());
    let again = granted(csi.create_volume_group_snapshot(request).await);
    assert_eq!(again.group_snapshot.as_ref(), Some(&group), "the order of the volumes is nothing");
    let get = GetVolumeGroupSnapshotRequest {
        group_snapshot_id: group.group_snapshot_id.clone(),
        snapshot_ids: ids(&group),
        ..Default::default()
    };
    let got = granted(csi.get_volume_group_snapshot(get).await);
    assert_eq!(got.group_snapshot.as_ref(), Some(&group));
    for life in &lives {
        rewrite(life, "changed!!").await;
    }
    for snapshot in &group.snapshots {
        let text =
            if snapshot.source_volume_id == lives[0].id() { "text of a" } else { "text of b" };
        check(&driver, from_snapshot(&snapshot.snapshot_id, &snapshot.snapshot_id), text).await;
    }
    let listed = granted(csi.list_snapshots(ListSnapshotsRequest::default()).await);
    let groups = listed.entries.into_iter().filter_map(|e| e.snapshot).map(|s| s.group_snapshot_id);
    assert_eq!(groups.collect::<Vec<_>>(), vec![group.group_snapshot_id.clone(); 2]);
}

//= CSI "CreateVolumeGroupSnapshot Errors": "Snapshot already exists but is incompatible | 6
//= ALREADY_EXISTS"; a missing volume is NOT_FOUND and leaves no half group.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_whole_or_not_there() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let (lives, group) = group_of_two(&driver).await;
    let fewer = csi.create_volume_group_snapshot(group_request("group", vec![lives[0].id()])).await;
    refused(fewer, Code::AlreadyExists, &["group"]);
    let missing = group_request("half", vec![lives[0].id(), "no-such-volume".to_owned()]);
    refused(csi.create_volume_group_snapshot(missing).await, Code::NotFound, &["no-such-volume"]);
    let none = csi.create_volume_group_snapshot(group_request("none", Vec::new())).await;
    refused(none, Code::InvalidArgument, &["source_volume_ids"]);
    let listed = granted(csi.list_snapshots(ListSnapshotsRequest::default()).await);
    assert_eq!(listed.entries.len(), group.snapshots.len());
}

//= CSI "DeleteVolumeGroupSnapshot Errors": "Snapshot list mismatch | 3 INVALID_ARGUMENT", and so
//= "GetVolumeGroupSnapshot Errors".
#[tokio::test(flavor = "multi_thread")]
async fn snapshot_ids_that_are_not_the_groups_are_refused() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let (lives, group) = group_of_two(&driver).await;
    let alone = granted(csi.snapshot(ask::snapshot("alone", lives[0].id())).await).snapshot_id;
    let mut with_alone = ids(&group);
    with_alone.push(alone.clone());
    for snapshot_ids in [vec![alone], with_alone, ids(&group)[..1].to_vec()] {
        let get = GetVolumeGroupSnapshotRequest {
            group_snapshot_id: group.group_snapshot_id.clone(),
            snapshot_ids: snapshot_ids.clone(),
            ..Default::default()
        };
        let got = csi.get_volume_group_snapshot(get).await;
        refused(got, Code::InvalidArgument, &["snapshot_ids", &group.group_snapshot_id]);
        let delete = DeleteVolumeGroupSnapshotRequest {
            group_snapshot_id: group.group_snapshot_id.clone(),
            snapshot_ids,
            ..Default::default()
        };
        let deleted = csi.delete_volume_group_snapshot(delete).await;
        refused(deleted, Code::InvalidArgument, &["snapshot_ids", &group.group_snapshot_id]);
    }
    let unknown = GetVolumeGroupSnapshotRequest {
        group_snapshot_id: "no-such-group".to_owned(),
        ..Default::default()
    };
    refused(csi.get_volume_group_snapshot(unknown).await, Code::NotFound, &["no-such-group"]);
}

//= CSI "DeleteSnapshot": "If the snapshot is part of a group snapshot [...] the plugin MUST return
//= INVALID_ARGUMENT or FAILED_PRECONDITION" unless it can delete it alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_groups_snapshot_goes_only_with_its_group() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let (lives, group) = group_of_two(&driver).await;
    let alone = csi.delete_snapshot(gone(&ids(&group)[0])).await;
    let sentence = alone.as_ref().err().map(|status| status.message().to_owned());
    assert!(sentence.is_some_and(|s| s.contains(&group.group_snapshot_id)), "{alone:?}");
    assert!(matches!(
        alone.map_err(|status| status.code()),
        Err(Code::FailedPrecondition | Code::InvalidArgument)
    ));
    let delete = DeleteVolumeGroupSnapshotRequest {
        group_snapshot_id: group.group_snapshot_id.clone(),
        snapshot_ids: ids(&group),
        ..Default::default()
    };
    granted(csi.delete_volume_group_snapshot(delete.clone()).await);
    granted(csi.delete_volume_group_snapshot(delete).await);
    for life in lives {
        granted(life.delete().await);
    }
    assert_eq!(driver.residue().await, Vec::<String>::new());
}
