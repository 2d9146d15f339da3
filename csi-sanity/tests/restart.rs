//! A driver that is killed at every point of a volume's life, and goes on where it was.

use std::time::Duration;

use stead_conformance::answer::granted;
use stead_conformance::ask;
use stead_conformance::{Driver, Life, Setup, host};
use stead_proto::csi::v1::*;
use tokio::time::{Instant, sleep};
use tonic::Status;

const TEXT: &str = "what the member wrote before the crash";

/// The steps between making and deleting a volume.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Publish,
    Stage,
    NodePublish,
    Write,
    NodeUnpublish,
    Unstage,
    Unpublish,
}

const STEPS: [Step; 7] = [
    Step::Publish,
    Step::Stage,
    Step::NodePublish,
    Step::Write,
    Step::NodeUnpublish,
    Step::Unstage,
    Step::Unpublish,
];

async fn take(step: Step, life: &Life) -> Result<(), Status> {
    match step {
        Step::Publish => life.publish().await,
        Step::Stage => life.stage().await,
        Step::NodePublish => life.node_publish().await,
        Step::Write => {
            host::write(&life.target, TEXT);
            Ok(())
        }
        Step::NodeUnpublish => life.node_unpublish().await,
        Step::Unstage => life.unstage().await,
        Step::Unpublish => life.unpublish().await,
    }
}

/// Repeats a call as an orchestrator does, until it succeeds.
async fn converge<T>(call: impl AsyncFn() -> Result<T, Status>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(status) => {
                assert!(Instant::now() < deadline, "does not converge: {}", status.message());
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn whole(driver: &Driver, life: &Life) {
    granted(life.up().await);
    assert_eq!(host::read(&life.target, TEXT), TEXT, "data was lost");
    granted(life.end().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

/// Kills the driver after each step and repeats that step.
async fn after_each_step(request: CreateVolumeRequest) {
    let Some(driver) = Driver::start().await else { return };
    let made = granted(driver.csi().create(request.clone()).await);
    driver.crash().await;
    let life = converge(async || Life::create(&driver, request.clone()).await).await;
    assert_eq!(life.volume, made, "the repeat gave another volume");
    for step in STEPS {
        granted(take(step, &life).await);
        let term = life.term();
        driver.crash().await;
        converge(async || take(step, &life).await).await;
        assert_eq!(life.term(), term, "a restart changed no hands at {step:?}");
    }
    granted(life.up().await);
    granted(life.down().await);
    granted(life.delete().await);
    driver.crash().await;
    granted(life.delete().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
    // And once more with the data looked at, the whole way.
    let life = granted(Life::create(&driver, request).await);
    granted(life.up().await);
    granted(take(Step::Write, &life).await);
    driver.crash().await;
    assert_eq!(host::read(&life.target, TEXT), TEXT);
    converge(async || life.node_unpublish().await).await;
    driver.crash().await;
    converge(async || life.unstage().await).await;
    driver.crash().await;
    converge(async || life.unpublish().await).await;
    whole(&driver, &life).await;
}

//= CSI "Idempotency" and "Timeouts": "The CO SHALL [...] retry [...]" after a plugin that went away, and
//= every call here "MUST be idempotent".
#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_volume_survives_a_crash_after_each_step() {
    after_each_step(ask::create("one")).await;
}

//= CSI "Idempotency", as above.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_volume_survives_a_crash_after_each_step() {
    let capabilities = vec![ask::block()];
    after_each_step(CreateVolumeRequest {
        volume_capabilities: capabilities,
        ..ask::create("one")
    })
    .await;
}

//= CSI "Idempotency", as above, for the volume of a member with an address.
#[tokio::test(flavor = "multi_thread")]
async fn a_members_volume_survives_a_crash_after_each_step() {
    let more = [("static-ip", "auto"), ("subnet", "10.91.8.0/24")];
    after_each_step(ask::create_for("one", "db-0", &more)).await;
}

/// Begins a call, kills the driver under it, starts it again and repeats the call.
async fn during<T>(
    driver: &Driver,
    delay: Duration,
    call: impl AsyncFn() -> Result<T, Status>,
) -> T {
    let (first, ()) = tokio::join!(call(), async {
        sleep(delay).await;
        driver.kill();
    });
    // It may have been quick enough, or late: an orchestrator that got no answer repeats.
    drop(first);
    driver.start_process().await;
    converge(call).await
}

/// How many lives are led with crashes in them: more for a long search, in `STEAD_CRASH_ROUNDS`.
fn rounds(first: u64) -> std::ops::Range<u64> {
    let named = std::env::var("STEAD_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    first..first + named.unwrap_or(4)
}

async fn life_with_crashes(driver: &Driver, round: u64, request: CreateVolumeRequest) {
    // Different in every round and every step, the same in every run.
    let mut seed = round;
    let mut delay = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((seed >> 33) % 40_000)
    };
    let create = async || Life::create(driver, request.clone()).await;
    let life = during(driver, delay(), create).await;
    for step in STEPS {
        match step {
            Step::Write => granted(take(step, &life).await),
            step => during(driver, delay(), async || take(step, &life).await).await,
        }
    }
    granted(life.up().await);
    assert_eq!(host::read(&life.target, TEXT), TEXT, "data was lost");
    granted(life.down().await);
    during(driver, delay(), async || life.delete().await).await;
    assert_eq!(driver.residue().await, Vec::<String>::new(), "round {round}");
}

//= CSI "Idempotency", as above.
#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_volume_survives_a_crash_during_each_step() {
    let Some(driver) = Driver::start().await else { return };
    for round in rounds(0) {
        life_with_crashes(&driver, round, ask::create(format!("round-{round}"))).await;
    }
}

//= CSI "Idempotency", as above, for the volume of a member with an address.
#[tokio::test(flavor = "multi_thread")]
async fn a_members_volume_survives_a_crash_during_each_step() {
    let Some(driver) = Driver::start().await else { return };
    for round in rounds(1000) {
        let more = [("static-ip", "auto"), ("subnet", "10.91.8.0/24")];
        let request = ask::create_for(format!("round-{round}"), "db-0", &more);
        life_with_crashes(&driver, round, request).await;
    }
}

//= CSI "NodeStageVolume": what a crash in the middle of making a file system leaves is made good by the
//= repeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_of_mkfs_is_made_good() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("mkfs.ext4");
    // Half a file system: its first superblock is there and nothing else of it.
    let script = "#!/bin/sh\nfor device; do :; done\n\
                  if [ -e $0.once ]; then exec /usr/sbin/mkfs.ext4 \"$@\"; fi\ntouch $0.once\n\
                  dd if=/dev/urandom of=$device bs=4096 seek=1 count=16 conv=fsync 2>/dev/null\nsleep 30\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.path().display());
    let Some(driver) = Setup::new().variable("PATH", path).start().await else { return };
    let life = granted(Life::create(&driver, ask::create("one")).await);
    granted(life.publish().await);
    assert!(tokio::time::timeout(Duration::from_millis(800), life.stage()).await.is_err());
    assert!(folder.path().join("mkfs.ext4.once").exists(), "the stage did not get to mkfs");
    driver.crash().await;
    converge(async || life.stage().await).await;
    granted(life.node_publish().await);
    granted(take(Step::Write, &life).await);
    granted(life.down().await);
    whole(&driver, &life).await;
}

//= CSI "Idempotency": a snapshot, a group and a clone are there whole or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_copy_leaves_all_or_nothing() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let source = granted(Life::create(&driver, ask::create("source")).await);
    granted(source.up().await);
    granted(take(Step::Write, &source).await);
    granted(source.down().await);
    for (round, delay) in [0, 2, 5, 9, 15].map(Duration::from_millis).into_iter().enumerate() {
        let request = ask::snapshot(format!("s-{round}"), source.id());
        let taken = during(&driver, delay, async || csi.snapshot(request.clone()).await).await;
        assert!(taken.ready_to_use);
        let clone = CreateVolumeRequest {
            volume_content_source: ask::content_of_snapshot(&taken.snapshot_id),
            ..ask::create(format!("restored-{round}"))
        };
        let restored =
            during(&driver, delay, async || Life::create(&driver, clone.clone()).await).await;
        granted(restored.up().await);
        assert_eq!(host::read(&restored.target, TEXT), TEXT);
        granted(restored.end().await);
        let gone = DeleteSnapshotRequest { snapshot_id: taken.snapshot_id, ..Default::default() };
        during(&driver, delay, async || csi.delete_snapshot(gone.clone()).await).await;
    }
    granted(source.delete().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "Idempotency": a driver that is asked to end does so, and what it was doing is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_asked_to_end_leaves_workloads_alone() {
    let Some(driver) = Driver::start().await else { return };
    let life = granted(Life::create(&driver, ask::create("one")).await);
    granted(life.up().await);
    granted(take(Step::Write, &life).await);
    assert_eq!(driver.terminate().await, Some(0));
    assert_eq!(host::read(&life.target, TEXT), TEXT, "it is still mounted");
    driver.start_process().await;
    assert!(host::mount_at(&life.target).is_some());
    granted(life.up().await);
    granted(life.down().await);
    whole(&driver, &life).await;
}

//= CSI "Idempotency", as above, for what changes a volume that is in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_change_is_made_good() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let request =
        CreateVolumeRequest { volume_capabilities: vec![ask::block()], ..ask::create("one") };
    let life = granted(Life::create(&driver, request).await);
    granted(life.up().await);
    host::write(&life.target, TEXT);
    for round in 1..6 {
        let delay = Duration::from_millis(3 * round);
        let bytes = ask::SIZE + i64::try_from(round).unwrap_or(1) * ask::MIB;
        let expand = ControllerExpandVolumeRequest {
            volume_id: life.id(),
            capacity_range: ask::sized(bytes),
            ..Default::default()
        };
        let expand = async || csi.controller_expand_volume(expand.clone()).await;
        assert_eq!(during(&driver, delay, expand).await.capacity_bytes, bytes);
        let grow = NodeExpandVolumeRequest {
            volume_id: life.id(),
            volume_path: life.target.display().to_string(),
            capacity_range: ask::sized(bytes),
            ..Default::default()
        };
        let grow = async || csi.node_expand_volume(grow.clone()).await;
        assert_eq!(during(&driver, delay, grow).await.capacity_bytes, bytes);
        assert_eq!(host::device_bytes(&life.target), bytes);
        let value = if round % 2 == 0 { "on" } else { "off" };
        let modify = ControllerModifyVolumeRequest {
            volume_id: life.id(),
            mutable_parameters: ask::map([("directIo", value)]),
            ..Default::default()
        };
        during(&driver, delay, async || csi.controller_modify_volume(modify.clone()).await).await;
        assert_eq!(host::read(&life.target, TEXT), TEXT);
    }
    granted(life.end().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "CreateVolumeGroupSnapshot": "This operation MUST be idempotent": all of a group or nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_group_leaves_all_or_nothing() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let mut source_volume_ids = Vec::new();
    for name in ["a", "b", "c"] {
        source_volume_ids.push(granted(csi.create(ask::create(name)).await).volume_id);
    }
    for round in 0..8 {
        let delay = Duration::from_millis(2 * round);
        let create = CreateVolumeGroupSnapshotRequest {
            name: format!("group-{round}"),
            source_volume_ids: source_volume_ids.clone(),
            ..Default::default()
        };
        let create = async || csi.create_volume_group_snapshot(create.clone()).await;
        let group = during(&driver, delay, create).await.group_snapshot.unwrap_or_default();
        assert!(group.ready_to_use && group.snapshots.len() == 3, "{group:?}");
        let listed = granted(csi.list_snapshots(ListSnapshotsRequest::default()).await);
        assert_eq!(listed.entries.len(), 3);
        let delete = DeleteVolumeGroupSnapshotRequest {
            group_snapshot_id: group.group_snapshot_id,
            snapshot_ids: group.snapshots.into_iter().map(|s| s.snapshot_id).collect(),
            ..Default::default()
        };
        let delete = async || csi.delete_volume_group_snapshot(delete.clone()).await;
        during(&driver, delay, delete).await;
        let listed = granted(csi.list_snapshots(ListSnapshotsRequest::default()).await);
        assert_eq!(listed.entries.len(), 0);
    }
    for id in source_volume_ids {
        granted(csi.delete_volume(ask::delete(id)).await);
    }
    assert_eq!(driver.residue().await, Vec::<String>::new());
}
