//! Calls that meet: joined where they are the same, refused where they differ, and never stopped by
//! whoever made them.

use std::fs::File;
use std::time::Duration;

use futures::future::join_all;
use nix::fcntl::{Flock, FlockArg};
use stead_conformance::answer::{granted, refused};
use stead_conformance::ask::{self, MIB};
use stead_conformance::{Driver, Life, Setup};
use tonic::{Code, IntoRequest};

/// Long enough for a call to have arrived, short against what the driver waits for.
const ARRIVED: Duration = Duration::from_millis(300);

/// Makes every change of a volume slow, as storage that does not answer would: whoever changes it
/// waits for this lock.
fn hold_up(driver: &Driver, volume_id: &str) -> Flock<File> {
    let path = driver.pool().lock(&granted(volume_id.parse().map_err(|_| unparsable())));
    let file = granted(File::options().read(true).write(true).open(path).map_err(io));
    granted(Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io(errno.into())))
}

fn unparsable() -> tonic::Status {
    tonic::Status::internal("the driver gave an id that is none")
}

fn io(error: std::io::Error) -> tonic::Status {
    tonic::Status::internal(error.to_string())
}

/// A program that is slow and then does what it should, in front of the others of its name.
fn slow_mkfs(setup: Setup, seconds: u32) -> (Setup, tempfile::TempDir) {
    use std::os::unix::fs::PermissionsExt;
    let folder = granted(tempfile::tempdir().map_err(io));
    let program = folder.path().join("mkfs.ext4");
    let script = format!("#!/bin/sh\nsleep {seconds}\nexec /usr/sbin/mkfs.ext4 \"$@\"\n");
    granted(std::fs::write(&program, script).map_err(io));
    let executable = std::fs::Permissions::from_mode(0o755);
    granted(std::fs::set_permissions(&program, executable).map_err(io));
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.path().display());
    (setup.variable("PATH", path), folder)
}

//= CSI "CreateVolume": "This operation MUST be idempotent. If a volume corresponding to the specified
//= volume `name` already exists [...] the Plugin MUST reply `0 OK`".
#[tokio::test(flavor = "multi_thread")]
async fn identical_creates_at_once_make_one_volume() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let made = join_all((0..8).map(|_| csi.create(ask::create("one")))).await;
    let made: Vec<_> = made.into_iter().map(granted).collect();
    assert!(made.iter().all(|volume| *volume == made[0]), "{made:?}");
    assert_eq!(granted(csi.volumes().await).len(), 1);
    granted(csi.delete_volume(ask::delete(&made[0].volume_id)).await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "ControllerPublishVolume": "This operation MUST be idempotent."
//= CSI "NodeStageVolume" and "NodePublishVolume": "This operation MUST be idempotent."
#[tokio::test(flavor = "multi_thread")]
async fn identical_publishes_and_stages_at_once_have_one_effect() {
    let (setup, _folder) = slow_mkfs(Setup::new(), 2);
    let Some(driver) = setup.start().await else { return };
    let life = granted(Life::create(&driver, ask::create("one")).await);
    let csi = driver.csi();
    let published =
        join_all((0..6).map(|_| csi.controller_publish_volume(life.publish_request()))).await;
    let published: Vec<_> = published.into_iter().map(granted).collect();
    assert!(published.iter().all(|answer| *answer == published[0]), "{published:?}");
    granted(life.publish().await);
    assert_eq!(life.term(), 1, "joined calls are one change of hands");
    for staged in join_all((0..6).map(|_| life.stage())).await {
        granted(staged);
    }
    for published in join_all((0..6).map(|_| life.node_publish())).await {
        granted(published);
    }
    let home = driver.path("");
    assert_eq!(stead_conformance::host::loops_below(&driver.path("../pool")).len(), 0);
    let mounts = stead_conformance::host::mounts_below(&home);
    assert_eq!(mounts.len(), 2, "one at the staging path, one at the target: {mounts:?}");
    assert_eq!(stead_conformance::host::loops_below(driver.pool().root()).len(), 1);
    for unpublished in join_all((0..6).map(|_| life.node_unpublish())).await {
        granted(unpublished);
    }
    granted(life.end().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "CreateVolume Errors": "Operation pending for volume | 10 ABORTED".
#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_differs_from_the_one_under_way_is_aborted() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let source = granted(csi.create(ask::create("source")).await);
    let held = hold_up(&driver, &source.volume_id);
    let mut clone = ask::create("clone");
    clone.volume_content_source = ask::content_of_volume(&source.volume_id);
    let first = tokio::spawn({
        let (csi, clone) = (csi.clone(), clone.clone());
        async move { csi.create(clone).await }
    });
    tokio::time::sleep(ARRIVED).await;
    let mut larger = clone.clone();
    larger.capacity_range = ask::sized(32 * MIB);
    refused(csi.create(larger).await, Code::Aborted, &["clone"]);
    // The same again joins and gets the same answer.
    let second = tokio::spawn({
        let csi = csi.clone();
        async move { csi.create(clone).await }
    });
    tokio::time::sleep(ARRIVED).await;
    assert!(!first.is_finished() && !second.is_finished());
    drop(held);
    let (first, second) = (granted(first.await.unwrap()), granted(second.await.unwrap()));
    assert_eq!(first, second);
    assert_eq!(granted(csi.volumes().await).len(), 2);
}

//= CSI "ControllerPublishVolume Errors" and "DeleteVolume Errors": "Operation pending for volume".
#[tokio::test(flavor = "multi_thread")]
async fn other_calls_for_a_volume_under_way_are_aborted() {
    let Some(driver) = Driver::start().await else { return };
    let life = granted(Life::create(&driver, ask::create("one")).await);
    let csi = driver.csi();
    let held = hold_up(&driver, &life.id());
    let first = tokio::spawn({
        let (csi, request) = (csi.clone(), life.publish_request());
        async move { csi.controller_publish_volume(request).await }
    });
    tokio::time::sleep(ARRIVED).await;
    let mut differs = life.publish_request();
    differs.readonly = true;
    refused(csi.controller_publish_volume(differs).await, Code::Aborted, &[&life.id()]);
    refused(life.unpublish().await, Code::Aborted, &[&life.id()]);
    refused(life.delete().await, Code::Aborted, &[&life.id()]);
    drop(held);
    granted(first.await.unwrap());
    granted(life.unpublish().await);
    granted(life.delete().await);
}

//= CSI "NodeStageVolume Errors" and "NodePublishVolume Errors": "Operation pending for volume".
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_differs_from_the_one_under_way_is_aborted() {
    let (setup, _folder) = slow_mkfs(Setup::new(), 2);
    let Some(driver) = setup.start().await else { return };
    let life = granted(Life::create(&driver, ask::create("one")).await);
    granted(life.publish().await);
    let first = tokio::spawn({
        let (csi, request) = (driver.csi(), life.stage_request());
        async move { csi.node_stage_volume(request).await }
    });
    tokio::time::sleep(ARRIVED).await;
    let mut differs = life.stage_request();
    differs.staging_target_path = driver.path("elsewhere").display().to_string();
    refused(driver.csi().node_stage_volume(differs).await, Code::Aborted, &[&life.id()]);
    refused(life.node_publish().await, Code::Aborted, &[&life.id()]);
    refused(life.unstage().await, Code::Aborted, &[&life.id()]);
    granted(life.stage().await);
    granted(first.await.unwrap());
    granted(life.node_publish().await);
    granted(life.end().await);
}

//= CSI "Timeouts": "The CO MAY be configured to [...] retry"; a call that timed out "can leave the
//= volume in an unknown state", which the repeat makes good.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_does_not_stop_a_create() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let source = granted(csi.create(ask::create("source")).await);
    let mut clone = ask::create("clone");
    clone.volume_content_source = ask::content_of_volume(&source.volume_id);
    let held = hold_up(&driver, &source.volume_id);
    let gone = tokio::time::timeout(ARRIVED, csi.create(clone.clone())).await;
    assert!(gone.is_err(), "it was meant to be slow");
    let mut short = clone.clone().into_request();
    short.set_timeout(ARRIVED);
    let late = csi.create(short).await;
    assert!(late.is_err(), "it was meant to be late");
    drop(held);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while granted(csi.volumes().await).len() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "the create stopped with its callers");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let clone = granted(csi.create(clone).await);
    let ids: Vec<_> = granted(csi.volumes().await).into_iter().map(|(id, _)| id).collect();
    assert!(ids.len() == 2 && ids.contains(&clone.volume_id), "{ids:?}");
}

//= CSI "Timeouts", as above, on a node.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_does_not_stop_a_stage() {
    let (setup, _folder) = slow_mkfs(Setup::new(), 2);
    let Some(driver) = setup.start().await else { return };
    let life = granted(Life::create(&driver, ask::create("one")).await);
    granted(life.publish().await);
    assert!(tokio::time::timeout(ARRIVED, life.stage()).await.is_err());
    let mut short = life.stage_request().into_request();
    short.set_timeout(ARRIVED);
    assert!(driver.csi().node_stage_volume(short).await.is_err());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while stead_conformance::host::mount_at(&life.staging).is_none() {
        assert!(tokio::time::Instant::now() < deadline, "the stage stopped with its callers");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    granted(life.stage().await);
    granted(life.node_publish().await);
    granted(life.end().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "Concurrency": "the CO SHOULD ensure that there are no other calls 'in-flight' for a given
//= volume", which leaves calls for different volumes free to run at once.
#[tokio::test(flavor = "multi_thread")]
async fn calls_for_32_volumes_run_at_once() {
    let Some(driver) = Driver::start().await else { return };
    let lives =
        join_all((0..32).map(|i| Life::create(&driver, ask::create(format!("volume-{i}")))));
    let lives: Vec<_> = lives.await.into_iter().map(granted).collect();
    for outcome in join_all(lives.iter().map(Life::publish)).await {
        granted(outcome);
    }
    for outcome in join_all(lives.iter().take(8).map(Life::up)).await {
        granted(outcome);
    }
    for outcome in join_all(lives.iter().take(8).map(Life::down)).await {
        granted(outcome);
    }
    for outcome in join_all(lives.iter().map(Life::unpublish)).await {
        granted(outcome);
    }
    for outcome in join_all(lives.iter().map(Life::delete)).await {
        granted(outcome);
    }
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "Concurrency", as above.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_hangs_holds_no_other_up() {
    let Some(driver) = Driver::start().await else { return };
    let hung = granted(Life::create(&driver, ask::create("hung")).await);
    let fine = granted(Life::create(&driver, ask::create("fine")).await);
    let held = hold_up(&driver, &hung.id());
    let waiting = tokio::spawn({
        let (csi, request) = (driver.csi(), hung.publish_request());
        async move { csi.controller_publish_volume(request).await }
    });
    tokio::time::sleep(ARRIVED).await;
    granted(fine.up().await);
    granted(fine.end().await);
    granted(driver.csi().create(ask::create("another")).await);
    assert!(!waiting.is_finished());
    drop(held);
    granted(waiting.await.unwrap());
}

//= CSI "Timeouts": Swarm gives a call 15 seconds; whatever takes longer goes on and is joined.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_swarm_waits_is_answered_in_time_and_then_done() {
    let setup = Setup::new().option("--orchestrator", "swarm");
    let (setup, _folder) = slow_mkfs(setup, 17);
    let Some(driver) = setup.start().await else { return };
    let life = granted(Life::create(&driver, ask::create("one")).await);
    granted(life.publish().await);
    let begun = tokio::time::Instant::now();
    refused(life.node_publish().await, Code::Aborted, &[]);
    assert!(begun.elapsed() < Duration::from_secs(15), "Swarm has given up by now");
    granted(life.node_publish().await);
    assert!(begun.elapsed() < Duration::from_secs(25), "the repeat began anew");
    granted(life.node_unpublish().await);
    granted(life.unpublish().await);
    granted(life.delete().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}
