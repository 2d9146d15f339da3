//! What goes wrong on a node: losses, latecomers, repeats with other arguments, things in use.
#![allow(missing_docs, clippy::unwrap_used)]

mod rig;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command};
use std::sync::atomic::Ordering;

use rig::{How, MIB, NODE, Rig, root};
use stead_model::hold::Stage;
use stead_model::orchestrator::Orchestrator;
use stead_model::record::{Volume, volume_key};
use stead_proto::csi::v1::node_server::Node;
use stead_proto::csi::v1::volume_capability::access_mode::Mode;
use stead_proto::csi::v1::*;
use tonic::{Code, Request};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_with_its_term_may_open() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, Some("mongo-0")).await;
    let how = How::fs("ext4");
    // The store says that it is ours, and the pool does not know yet (or no longer).
    for claim in [
        r#"{"node":"host-b","term":1}"#,
        r#"{"node":"host-a","term":2}"#,
        r#"{"node":null,"term":1}"#,
    ] {
        fs::write(rig.layout.claim(&id), claim).unwrap();
        let error = rig.stage(&id, &how).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        assert!(error.message().contains("claimed by"), "{error}");
        assert_eq!(rig.devices(&id), 0);
    }
    // The store says that it is another's.
    rig.give(&id, "host-b", 2).await;
    let error = rig.stage(&id, &how).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    // Ours again, and the call carries an old term.
    rig.give(&id, NODE, 3).await;
    assert_eq!(rig.stage(&id, &how).await.unwrap_err().code(), Code::FailedPrecondition);
    rig.stage(&id, &How { term: 3, ..how }).await.unwrap();
    fs::remove_file(rig.layout.mark()).unwrap();
    rig.unstage(&id).await.unwrap();
    let error = rig.stage(&id, &How { term: 3, ..How::fs("ext4") }).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_term_left_mounted_is_not_used_again() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, None).await;
    let how = How::fs("ext4");
    rig.stage(&id, &how).await.unwrap();
    rig.publish(&id, "target", &how).await.unwrap();
    rig.give(&id, NODE, 3).await;
    let how = How { term: 3, ..how };
    let error = rig.publish(&id, "target", &how).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    let held = fs::File::open(rig.path("target")).unwrap();
    let error = rig.stage(&id, &how).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    drop(held);
    rig.stage(&id, &how).await.unwrap();
    rig.publish(&id, "target", &how).await.unwrap();
    assert!(rig.mounted("target"));
    assert_eq!(rig.devices(&id), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_was_taken_over_does_not_keep_the_volume_here() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, Some("mongo-0")).await;
    let how = How::fs("ext4");
    rig.stage(&id, &how).await.unwrap();
    rig.publish(&id, "target", &how).await.unwrap();
    rig.give(&id, "host-b", 2).await;
    rig.unpublish(&id, "target").await.unwrap();
    rig.unstage(&id).await.unwrap();
    assert_eq!(rig.devices(&id), 0);
    assert_eq!(rig.reached(&id).await, Some(Stage::Attached));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_the_volume_goes_and_the_call_is_to_be_repeated() {
    if !root() {
        return;
    }
    for orchestrator in [Orchestrator::Kubernetes, Orchestrator::Swarm] {
        let rig = Rig::new(orchestrator).await;
        let id = rig.volume(64 * MIB, Some("mongo-0")).await;
        let how = How::fs("ext4");
        if orchestrator == Orchestrator::Kubernetes {
            rig.stage(&id, &how).await.unwrap();
        }
        rig.publish(&id, "target", &how).await.unwrap();
        rig.store.set_reachable(false);
        for _ in 0..2 {
            assert_eq!(rig.unpublish(&id, "target").await.unwrap_err().code(), Code::Unavailable);
        }
        assert!(!rig.path("target").exists());
        if orchestrator == Orchestrator::Kubernetes {
            assert_eq!(rig.unstage(&id).await.unwrap_err().code(), Code::Unavailable);
        }
        assert_eq!(rig.devices(&id), 0);
        rig.store.set_reachable(true);
        assert_eq!(rig.reached(&id).await, Some(Stage::Published));
        rig.unpublish(&id, "target").await.unwrap();
        if orchestrator == Orchestrator::Kubernetes {
            rig.unstage(&id).await.unwrap();
        }
        assert_eq!(rig.reached(&id).await, Some(Stage::Attached));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_deleted_meanwhile_is_cleaned_up() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, None).await;
    let how = How::fs("ext4");
    rig.stage(&id, &how).await.unwrap();
    rig.publish(&id, "target", &how).await.unwrap();
    rig.registry.remove_key(&volume_key(&id)).await.unwrap();
    rig.unpublish(&id, "target").await.unwrap();
    rig.unstage(&id).await.unwrap();
    assert_eq!(rig.devices(&id), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_state_file_is_made_good_from_the_kernel() {
    if !root() {
        return;
    }
    for how in [How::fs("ext4"), How::block()] {
        let mut rig = Rig::new(Orchestrator::Kubernetes).await;
        let id = rig.volume(64 * MIB, Some("mongo-0")).await;
        rig.stage(&id, &how).await.unwrap();
        rig.publish(&id, "target", &how).await.unwrap();
        fs::write(rig.path(&format!("state/volumes/{id}.json")), "{ torn").unwrap();
        rig.restart();
        rig.service.reconcile().await.unwrap();
        assert!(rig.mounted("target"));
        rig.publish(&id, "target", &how).await.unwrap();
        fs::remove_file(rig.path(&format!("state/volumes/{id}.json"))).unwrap();
        rig.unpublish(&id, "target").await.unwrap();
        assert!(!rig.path("target").exists());
        assert_eq!(rig.reached(&id).await, Some(Stage::Staged));
        rig.unstage(&id).await.unwrap();
        assert_eq!(rig.devices(&id), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_in_the_way_is_named() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, Some("mongo-0")).await;
    let how = How::fs("ext4");
    rig.stage(&id, &how).await.unwrap();
    rig.publish(&id, "target", &how).await.unwrap();
    let mut sleep = Command::new("sleep");
    let sleep = Killed(sleep.arg("60").current_dir(rig.path("target")).spawn().unwrap());
    let error = rig.unpublish(&id, "target").await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains(&format!("sleep (pid {})", sleep.0.id())), "{error}");
    assert!(rig.mounted("target"));
    drop(sleep);
    rig.unpublish(&id, "target").await.unwrap();

    // In a mount namespace of its own the file system lives on although nothing is mounted here.
    let mut hidden = Command::new("unshare");
    hidden.args(["--mount", "--propagation", "private", "sleep", "60"]);
    let hidden = Killed(hidden.spawn().unwrap());
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    while namespace(&hidden.0.id().to_string()) == namespace("self") {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let error = rig.unstage(&id).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().contains(&format!("(pid {})", hidden.0.id())), "{error}");
    assert_eq!(rig.reached(&id).await, Some(Stage::Staged), "reported as released");
    drop(hidden);
    rig.unstage(&id).await.unwrap();
    assert_eq!(rig.reached(&id).await, Some(Stage::Attached));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_fails_is_reported_and_the_repeat_succeeds() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, Some("mongo-0")).await;
    let how = How::fs("ext4");
    rig.stage(&id, &how).await.unwrap();
    rig.agent.failing.store(true, Ordering::SeqCst);
    let error = rig.publish(&id, "target", &how).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    rig.agent.failing.store(false, Ordering::SeqCst);
    rig.publish(&id, "target", &how).await.unwrap();
    assert_eq!(rig.agent.calls.lock().unwrap().as_slice(), ["mongo-0", "mongo-0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_with_other_arguments_are_told_apart() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, None).await;
    let how = How::fs("ext4");
    let error = rig.publish(&id, "target", &how).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert_eq!(rig.reached(&id).await, Some(Stage::Attached));
    rig.stage(&id, &how).await.unwrap();
    let other = How { flags: vec!["noatime".into()], ..how.clone() };
    assert_eq!(rig.stage(&id, &other).await.unwrap_err().code(), Code::AlreadyExists);
    rig.publish(&id, "a", &how).await.unwrap();
    let readonly = How { readonly: true, ..how.clone() };
    assert_eq!(rig.publish(&id, "a", &readonly).await.unwrap_err().code(), Code::AlreadyExists);
    rig.publish(&id, "b", &readonly).await.unwrap();
    assert!(fs::write(rig.path("b/file"), "x").is_err());
    fs::write(rig.path("a/file"), "x").unwrap();
    let single = How { mode: Mode::SingleNodeSingleWriter, ..how.clone() };
    assert_eq!(rig.publish(&id, "c", &single).await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(!rig.path("c").exists());
    fs::create_dir(rig.path("full")).unwrap();
    fs::write(rig.path("full/file"), "x").unwrap();
    assert_eq!(rig.publish(&id, "full", &how).await.unwrap_err().code(), Code::FailedPrecondition);
    // What failed does not count as published: the last one that did takes the identity with it.
    rig.unpublish(&id, "a").await.unwrap();
    assert_eq!(rig.reached(&id).await, Some(Stage::Published));
    rig.unpublish(&id, "b").await.unwrap();
    assert_eq!(rig.reached(&id).await, Some(Stage::Staged));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_mount_at_the_target_is_left_alone() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Swarm).await;
    let id = rig.volume(64 * MIB, None).await;
    fs::create_dir(rig.path("target")).unwrap();
    let none = None::<&str>;
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("x"), &rig.path("target"), Some("tmpfs"), flags, none).unwrap();
    for _ in 0..2 {
        let error = rig.publish(&id, "target", &How::fs("ext4")).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        let error = rig.unpublish(&id, "target").await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        assert!(rig.mounted("target"));
        assert_eq!(rig.devices(&id), 0);
        assert_eq!(rig.reached(&id).await, Some(Stage::Attached));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_volume_may_be_read_only_at_one_target() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(8 * MIB, None).await;
    let how = How::block();
    rig.stage(&id, &how).await.unwrap();
    rig.publish(&id, "ro", &How { readonly: true, ..how.clone() }).await.unwrap();
    rig.publish(&id, "rw", &how).await.unwrap();
    let write = |name: &str| {
        let mut file = fs::OpenOptions::new().write(true).open(rig.path(name))?;
        std::io::Write::write_all(&mut file, &[1; 4096])?;
        file.sync_all()
    };
    assert!(write("ro").is_err());
    assert!(write("rw").is_ok());
    rig.unpublish(&id, "ro").await.unwrap();
    rig.unpublish(&id, "rw").await.unwrap();
    rig.unstage(&id).await.unwrap();
    assert_eq!(rig.devices(&id), 0);
}

/// Whether this process has CAP_SYS_RESOURCE.
fn may_grow_ext4() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() & 1 << 24 != 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_grows_while_it_is_used_and_when_it_comes_back() {
    if !root() {
        return;
    }
    for (fs_type, before, after) in
        [("ext4", 64, 128), ("xfs", 320, 512), ("btrfs", 160, 320), ("", 8, 16)]
    {
        if fs_type == "ext4" && !may_grow_ext4() {
            eprintln!("SKIPPED: ext4 grows only with CAP_SYS_RESOURCE");
            continue;
        }
        let rig = Rig::new(Orchestrator::Kubernetes).await;
        let id = rig.volume(before * MIB, None).await;
        let how = if fs_type.is_empty() { How::block() } else { How::fs(fs_type) };
        rig.stage(&id, &how).await.unwrap();
        rig.publish(&id, "target", &how).await.unwrap();
        let path = rig.path("target").display().to_string();
        let total = rig.stats(id.as_str(), &path).await.unwrap()[0].total;
        let image = fs::OpenOptions::new().write(true).open(rig.image(&id)).unwrap();
        image.set_len(after * MIB).unwrap();
        for _ in 0..2 {
            let request = NodeExpandVolumeRequest {
                volume_id: id.to_string(),
                volume_path: path.clone(),
                capacity_range: Some(CapacityRange {
                    required_bytes: (after * MIB) as i64,
                    limit_bytes: 0,
                }),
                ..Default::default()
            };
            let grown = rig.service.node_expand_volume(Request::new(request)).await.unwrap();
            assert_eq!(grown.into_inner().capacity_bytes as u64, after * MIB);
        }
        let grown = rig.stats(id.as_str(), &path).await.unwrap()[0].total;
        assert!(grown > total + (total / 3), "{fs_type}: {total} {grown}");
        // Offline too.
        rig.unpublish(&id, "target").await.unwrap();
        rig.unstage(&id).await.unwrap();
        image.set_len(2 * after * MIB).unwrap();
        rig.stage(&id, &how).await.unwrap();
        rig.publish(&id, "target", &how).await.unwrap();
        let again = rig.stats(id.as_str(), &path).await.unwrap()[0].total;
        assert!(again > grown + (grown / 3), "{fs_type}: {grown} {again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_can_be_used_beside_its_original() {
    if !root() {
        return;
    }
    for (fs_type, mib) in [("xfs", 320), ("btrfs", 160), ("ext4", 64)] {
        let rig = Rig::new(Orchestrator::Swarm).await;
        let original = rig.volume(mib * MIB, None).await;
        let how = How::fs(fs_type);
        rig.publish(&original, "original", &how).await.unwrap();
        fs::write(rig.path("original/file"), "old").unwrap();
        rig.unpublish(&original, "original").await.unwrap();
        let copy = rig.volume(mib * MIB, None).await;
        fs::copy(rig.image(&original), rig.image(&copy)).unwrap();
        let origin = stead_model::record::Origin::Volume(original.clone());
        let format = rig.record(&original).await.format;
        let set = |volume: &mut Volume| {
            volume.origin = Some(origin.clone());
            volume.format = format.clone();
            Ok(())
        };
        rig.registry.change::<Volume>(&volume_key(&copy), set).await.unwrap();
        rig.publish(&original, "original", &how).await.unwrap();
        rig.publish(&copy, "copy", &how).await.unwrap();
        fs::write(rig.path("original/file"), "new").unwrap();
        assert_eq!(fs::read_to_string(rig.path("copy/file")).unwrap(), "old", "{fs_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mount_group_owns_everything() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, None).await;
    rig.stage(&id, &How::fs("ext4")).await.unwrap();
    fs::create_dir(rig.path("staging/dir")).unwrap();
    fs::write(rig.path("staging/dir/file"), "x").unwrap();
    fs::set_permissions(rig.path("staging/dir/file"), fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", rig.path("staging/link")).unwrap();
    rig.unstage(&id).await.unwrap();
    let before = fs::metadata("/etc/passwd").unwrap().gid();
    rig.stage(&id, &How { group: "4711".into(), ..How::fs("ext4") }).await.unwrap();
    let file = fs::metadata(rig.path("staging/dir/file")).unwrap();
    assert_eq!((file.gid(), file.mode() & 0o7777), (4711, 0o660));
    let directory = fs::metadata(rig.path("staging/dir")).unwrap();
    assert_eq!((directory.gid(), directory.mode() & 0o2070), (4711, 0o2070));
    assert_eq!(fs::symlink_metadata(rig.path("staging/link")).unwrap().gid(), 4711);
    assert_eq!(fs::metadata("/etc/passwd").unwrap().gid(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reboot_the_store_hears_that_nothing_is_open() {
    if !root() {
        return;
    }
    for how in [How::fs("ext4"), How::block()] {
        let mut rig = Rig::new(Orchestrator::Kubernetes).await;
        let id = rig.volume(64 * MIB, None).await;
        rig.stage(&id, &how).await.unwrap();
        rig.publish(&id, "target", &how).await.unwrap();
        // What a reboot does to mounts; the device of a block volume is left as a stray.
        nix::mount::umount(&rig.path("target")).unwrap();
        if !how.block {
            nix::mount::umount(&rig.path("staging")).unwrap();
            assert_eq!(rig.devices(&id), 0, "the kernel lets go by itself");
        }
        fs::remove_file(rig.path(&format!("state/volumes/{id}.json"))).unwrap();
        rig.restart();
        rig.service.reconcile().await.unwrap();
        assert_eq!(rig.reached(&id).await, Some(Stage::Attached));
        assert_eq!(rig.devices(&id), 0);
        rig.stage(&id, &how).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_leaves_what_is_in_use_alone_and_takes_away_what_is_lost() {
    if !root() {
        return;
    }
    let mut rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, None).await;
    let how = How::fs("ext4");
    rig.stage(&id, &how).await.unwrap();
    rig.publish(&id, "target", &how).await.unwrap();
    rig.restart();
    rig.service.reconcile().await.unwrap();
    assert!(rig.mounted("target"));
    assert_eq!(rig.reached(&id).await, Some(Stage::Published));
    rig.give(&id, "host-b", 2).await;
    rig.service.reconcile().await.unwrap();
    assert!(!rig.mounted("target") && !rig.mounted("staging"));
    assert_eq!(rig.devices(&id), 0);
    rig.unpublish(&id, "target").await.unwrap();
    assert!(!rig.path("target").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_missing_fields_get_the_code_that_csi_names() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, None).await;
    let stranger = "fake-vol-id-0123456789".parse().unwrap();
    let how = How::fs("ext4");
    assert_eq!(rig.stage(&stranger, &how).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(rig.publish(&stranger, "t", &how).await.unwrap_err().code(), Code::NotFound);
    rig.unpublish(&stranger, "t").await.unwrap();
    rig.unstage(&stranger).await.unwrap();
    let missing = rig.stats("", "/x").await.unwrap_err();
    assert_eq!(missing.code(), Code::InvalidArgument);
    assert_eq!(rig.stats("x", "").await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(rig.stats("x", "some/path").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(rig.stats(id.as_str(), "/tmp").await.unwrap_err().code(), Code::NotFound);
    let expand = |volume_id: &str, volume_path: &str| {
        let (volume_id, volume_path) = (volume_id.to_owned(), volume_path.to_owned());
        let request = NodeExpandVolumeRequest { volume_id, volume_path, ..Default::default() };
        rig.service.node_expand_volume(Request::new(request))
    };
    assert_eq!(expand("x", "some/path").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(expand("x", "").await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(expand("", "/x").await.unwrap_err().code(), Code::InvalidArgument);
    let empty = NodeStageVolumeRequest { volume_id: "x".into(), ..Default::default() };
    let error = rig.service.node_stage_volume(Request::new(empty)).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    // Something that is mounted there and is not ours stays.
    let request =
        NodeUnpublishVolumeRequest { volume_id: id.to_string(), target_path: "/proc".into() };
    let error = rig.service.node_unpublish_volume(Request::new(request)).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(std::path::Path::new("/proc/self").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_present_read_only_and_gone_apart() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, None).await;
    let health = async || {
        let request =
            NodeGetVolumeHealthRequest { volume_id: id.to_string(), ..Default::default() };
        let health = rig.service.node_get_volume_health(Request::new(request)).await?;
        let entries = health.into_inner().volume_health.unwrap().health_statuses;
        Ok::<_, tonic::Status>(entries.first().map(|entry| entry.status()))
    };
    assert_eq!(health().await.unwrap_err().code(), Code::NotFound);
    let how = How::fs("ext4");
    rig.stage(&id, &how).await.unwrap();
    rig.publish(&id, "target", &how).await.unwrap();
    assert_eq!(health().await.unwrap(), None);
    let none = None::<&str>;
    let remount = nix::mount::MsFlags::MS_REMOUNT | nix::mount::MsFlags::MS_RDONLY;
    nix::mount::mount(none, &rig.path("staging"), none, remount, none).unwrap();
    assert_eq!(health().await.unwrap(), Some(VolumeHealthErrorType::Degraded));
    nix::mount::umount(&rig.path("target")).unwrap();
    assert_eq!(health().await.unwrap(), Some(VolumeHealthErrorType::Inaccessible));
}
