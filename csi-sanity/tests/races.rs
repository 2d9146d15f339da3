//! Calls that contradict each other, at once: some win, the others are told, and nothing is left over.

use futures::future::join_all;
use stead_conformance::answer::granted;
use stead_conformance::ask;
use stead_conformance::{Csi, Driver, Life};
use stead_proto::csi::v1::*;
use tonic::{Code, Status};

const AUTO: [(&str, &str); 2] = [("static-ip", "auto"), ("subnet", "10.91.8.0/24")];

/// A refusal that an orchestrator can live with: it repeats, or the volume is another's.
#[track_caller]
fn bearable(status: &Status) {
    let codes = [Code::Aborted, Code::AlreadyExists, Code::FailedPrecondition, Code::NotFound];
    assert!(codes.contains(&status.code()), "{:?}: {}", status.code(), status.message());
}

async fn remove_all(csi: &Csi) {
    for (id, _) in granted(csi.volumes().await) {
        granted(csi.delete_volume(ask::delete(id)).await);
    }
}

/// Makes and deletes a volume of one name over and over; how often that worked, and why not.
async fn churn(csi: Csi, request: CreateVolumeRequest) -> (usize, Vec<String>) {
    let (mut made, mut refusals) = (0, Vec::new());
    for _ in 0..15 {
        match csi.create(request.clone()).await {
            Ok(volume) => {
                made += 1;
                if let Err(status) = csi.delete_volume(ask::delete(volume.volume_id)).await {
                    bearable(&status);
                }
            }
            Err(status) => {
                bearable(&status);
                refusals.push(status.message().to_owned());
            }
        }
    }
    (made, refusals)
}

//= CSI "CreateVolume" and "DeleteVolume": "This operation MUST be idempotent"; "Operation pending for volume".
#[tokio::test(flavor = "multi_thread")]
async fn creates_and_deletes_of_one_name_leave_nothing() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let churns = (0..6).map(|_| churn(csi.clone(), ask::create_for("one", "db-0", &AUTO)));
    let made: usize = join_all(churns).await.into_iter().map(|(made, _)| made).sum();
    assert!(made > 0, "nobody ever succeeded");
    let last = granted(csi.create(ask::create_for("one", "db-0", &AUTO)).await);
    granted(csi.delete_volume(ask::delete(last.volume_id)).await);
    remove_all(&csi).await;
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "CreateVolume Errors": "Volume already exists but is incompatible | 6 ALREADY_EXISTS": one of
//= several names gets the member.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_volumes_for_one_member_one_is_made() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    for round in 0..5 {
        let creates = (0..8).map(|i| csi.create(ask::create_for(format!("v-{i}"), "db-0", &AUTO)));
        let outcomes = join_all(creates).await;
        let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(made, 1, "round {round}: {outcomes:?}");
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(bearable);
        assert_eq!(granted(csi.volumes().await).len(), 1);
        remove_all(&csi).await;
        assert_eq!(driver.residue().await, Vec::<String>::new(), "round {round}");
    }
}

//= CSI "CreateVolume", as above: one of several members gets the address.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_members_that_want_one_address_one_gets_it() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let exactly = [("static-ip", "10.91.8.44"), ("subnet", "10.91.8.0/24")];
    for round in 0..5 {
        let creates = (0..8)
            .map(|i| csi.create(ask::create_for(format!("v-{i}"), &format!("db-{i}"), &exactly)));
        let outcomes = join_all(creates).await;
        let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(made, 1, "round {round}: {outcomes:?}");
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(bearable);
        remove_all(&csi).await;
        assert_eq!(driver.residue().await, Vec::<String>::new(), "round {round}");
    }
}

//= CSI "CreateVolume" and "DeleteVolume", for members that share a service.
#[tokio::test(flavor = "multi_thread")]
async fn members_of_one_service_come_and_go_at_once() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let churns = (0..6)
        .map(|i| churn(csi.clone(), ask::create_for(format!("v-{i}"), &format!("db-{i}"), &AUTO)));
    for (made, refusals) in join_all(churns).await {
        assert_eq!(made, 15, "members of one service were in each other's way: {refusals:?}");
    }
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "DeleteVolume Errors": "Volume in use | 9 FAILED_PRECONDITION": a volume is either published or gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_and_a_delete_do_not_both_succeed() {
    let Some(driver) = Driver::start().await else { return };
    for round in 0..10 {
        let life = granted(Life::create(&driver, ask::create(format!("v-{round}"))).await);
        let (published, deleted) = tokio::join!(life.publish(), life.delete());
        assert!(
            !(published.is_ok() && deleted.is_ok()),
            "round {round}: published and deleted at once"
        );
        for outcome in [&published, &deleted] {
            outcome.as_ref().err().into_iter().for_each(bearable);
        }
        granted(life.unpublish().await);
        granted(life.delete().await);
    }
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "DeleteVolume", "CreateSnapshot", "CreateVolume" with a source: a copy is whole or refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_goes_meanwhile_leaves_a_whole_copy_or_none() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    for round in 0..6 {
        let source = granted(csi.create(ask::create("source")).await).volume_id;
        let clone = CreateVolumeRequest {
            volume_content_source: ask::content_of_volume(&source),
            ..ask::create("clone")
        };
        let (cloned, snapshot, deleted) = tokio::join!(
            csi.create(clone),
            csi.snapshot(ask::snapshot("s", &source)),
            csi.delete_volume(ask::delete(&source))
        );
        let refusals = [cloned.as_ref().err(), snapshot.as_ref().err(), deleted.as_ref().err()];
        refusals.into_iter().flatten().for_each(bearable);
        if let Ok(snapshot) = snapshot {
            assert!(snapshot.ready_to_use, "round {round}");
            let snapshot_id = snapshot.snapshot_id;
            let gone = DeleteSnapshotRequest { snapshot_id, ..Default::default() };
            granted(csi.delete_snapshot(gone).await);
        }
        remove_all(&csi).await;
        assert_eq!(driver.residue().await, Vec::<String>::new(), "round {round}");
    }
}

//= CSI "Volume.volume_context": what it says stays true: an address that a member was told is its own,
//= also when its last volume went while its next one came.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_goes_and_comes_at_once_owns_the_address_that_it_is_told() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    for round in 0..40 {
        let old = granted(csi.create(ask::create_for("old", "db-0", &AUTO)).await).volume_id;
        let delete = async {
            while let Err(status) = csi.delete_volume(ask::delete(&old)).await {
                bearable(&status);
            }
        };
        let create = async {
            // Later each time, so that every point of the delete is met.
            tokio::time::sleep(std::time::Duration::from_micros(500 * round)).await;
            loop {
                match csi.create(ask::create_for("new", "db-0", &AUTO)).await {
                    Ok(volume) => break volume,
                    Err(status) => bearable(&status),
                }
            }
        };
        let ((), new) = tokio::join!(delete, create);
        let address = new.volume_context["stead.dev/static-ip"].as_str();
        let exactly = [("static-ip", address), AUTO[1]];
        let thief = csi.create(ask::create_for("thief", "db-1", &exactly)).await;
        let code = thief.as_ref().err().map(Status::code);
        assert_eq!(code, Some(Code::AlreadyExists), "round {round}: {address} is had by two");
        remove_all(&csi).await;
        assert_eq!(driver.residue().await, Vec::<String>::new(), "round {round}");
    }
}
