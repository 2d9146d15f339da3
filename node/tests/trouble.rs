//! What goes wrong on a node: losses, latecomers, restarts, things in use.
#![allow(missing_docs, clippy::unwrap_used)]

mod rig;

use std::fs;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;

use rig::{How, MIB, NODE, Rig, root};
use stead_model::hold::Stage;
use stead_model::orchestrator::Orchestrator;
use stead_model::record::volume_key;
use tonic::Code;

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
            assert!(rig.device_goes(&id).await, "the kernel lets go by itself");
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
