//! The life of a volume on a node, with real loop devices and file systems.
#![allow(missing_docs, clippy::unwrap_used)]

mod rig;

use std::fs;

use rig::{How, MIB, Rig, root};
use stead_model::hold::Stage;
use stead_model::image::FS_TYPE;
use stead_model::orchestrator::Orchestrator;
use stead_model::record::Format;
use tonic::Code;

/// Stage, publish, write, take away, bring back: the data is there.
async fn round_trip(fs_type: &'static str, bytes: u64) {
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(bytes, Some("mongo-0")).await;
    let how = How::fs(fs_type);
    for round in 0..2 {
        for _ in 0..3 {
            rig.stage(&id, &how).await.unwrap();
        }
        assert_eq!(rig.reached(&id).await, Some(Stage::Staged));
        for _ in 0..3 {
            rig.publish(&id, "target", &how).await.unwrap();
        }
        assert_eq!(rig.reached(&id).await, Some(Stage::Published));
        let file = rig.path("target/file");
        if round == 0 {
            fs::write(&file, "kept").unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
        assert_eq!(rig.devices(&id), 1);
        // A repeat of the stage call does not take back that it is published.
        rig.stage(&id, &how).await.unwrap();
        assert_eq!(rig.reached(&id).await, Some(Stage::Published));

        let early = rig.unstage(&id).await.unwrap_err();
        assert_eq!(early.code(), Code::FailedPrecondition, "{early}");
        for _ in 0..2 {
            rig.unpublish(&id, "target").await.unwrap();
        }
        assert!(!rig.path("target").exists());
        assert_eq!(rig.reached(&id).await, Some(Stage::Staged));
        for _ in 0..2 {
            rig.unstage(&id).await.unwrap();
        }
        assert_eq!(rig.reached(&id).await, Some(Stage::Attached));
        assert_eq!(rig.devices(&id), 0);
        assert!(!rig.mounted("staging"));
    }
    assert_eq!(rig.record(&id).await.format, Format::Done(fs_type.to_owned()));
    assert!(rig.converged() >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_names_the_file_system_where_the_capability_does_not() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Swarm).await;
    let id = rig.volume(160 * MIB, None).await;
    rig.set_parameter(&id, FS_TYPE, "btrfs").await;
    rig.publish(&id, "target", &How::fs("")).await.unwrap();
    assert_eq!(rig.record(&id).await.format, Format::Done("btrfs".to_owned()));
    rig.unpublish(&id, "target").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ext4_keeps_its_data() {
    if root() {
        round_trip("ext4", 64 * MIB).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn xfs_keeps_its_data() {
    if root() {
        round_trip("xfs", 320 * MIB).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn btrfs_keeps_its_data() {
    if root() {
        round_trip("btrfs", 160 * MIB).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_volume_keeps_its_data() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(8 * MIB, None).await;
    let how = How::block();
    for round in 0..2 {
        for _ in 0..2 {
            rig.stage(&id, &how).await.unwrap();
            rig.publish(&id, "pod/device", &how).await.unwrap();
        }
        let device = rig.path("pod/device");
        if round == 0 {
            let mut file = fs::OpenOptions::new().write(true).open(&device).unwrap();
            std::io::Write::write_all(&mut file, b"kept").unwrap();
            file.sync_all().unwrap();
        }
        assert_eq!(&fs::read(&device).unwrap()[..4], b"kept");
        let usage = rig.stats(id.as_str(), &device.display().to_string()).await.unwrap();
        assert_eq!(usage[0].total as u64, 8 * MIB);
        rig.unpublish(&id, "pod/device").await.unwrap();
        assert!(!device.exists() && rig.path("pod").exists());
        rig.unstage(&id).await.unwrap();
        assert_eq!(rig.devices(&id), 0);
    }
    assert_eq!(rig.record(&id).await.format, Format::Raw);
    assert_eq!(rig.converged(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn swarm_publishes_without_staging() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Swarm).await;
    let id = rig.volume(64 * MIB, Some("mongo-0")).await;
    let how = How::fs("");
    for _ in 0..2 {
        rig.publish(&id, "published/a", &how).await.unwrap();
        rig.publish(&id, "published/a", &how).await.unwrap();
        rig.publish(&id, "published/b", &how).await.unwrap();
        fs::write(rig.path("published/a/file"), "x").unwrap();
        assert!(rig.path("published/b/file").exists());
        rig.unpublish(&id, "published/a").await.unwrap();
        assert_eq!(rig.reached(&id).await, Some(Stage::Published));
        rig.unpublish(&id, "published/b").await.unwrap();
        rig.unpublish(&id, "published/b").await.unwrap();
        assert_eq!(rig.reached(&id).await, Some(Stage::Attached));
        assert_eq!(rig.devices(&id), 0);
    }
}
