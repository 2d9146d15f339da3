//! The member that a volume is: made with it, carried by it, gone with it, and never anyone else's.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use futures::future::join_all;
use stead_conformance::answer::{granted, refused};
use stead_conformance::{Csi, Driver, Life, Setup, ask};
use stead_proto::csi::v1::*;
use tonic::{Code, Status};

const SUBNET: (&str, &str) = ("subnet", "10.91.8.0/24");
const AUTO: [(&str, &str); 2] = [("static-ip", "auto"), SUBNET];

async fn member(
    csi: &Csi,
    name: &str,
    member: &str,
    more: &[(&str, &str)],
) -> Result<Volume, Status> {
    csi.create(ask::create_for(name, member, more)).await
}

fn has(volume: &Volume, key: &str) -> String {
    volume.volume_context.get(&format!("stead.dev/{key}")).cloned().unwrap_or_default()
}

fn address(volume: &Volume) -> Ipv4Addr {
    has(volume, "static-ip").parse().unwrap_or(Ipv4Addr::UNSPECIFIED)
}

//= CSI "Volume.volume_context": "Opaque static properties of the volume"; "this information SHALL NOT be
//= mutable", and is "the same [...] whenever" asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_members_volume_says_who_it_is_and_always_the_same() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let volume = granted(member(&csi, "one", "db-0", &AUTO).await);
    let told = ["cluster", "service", "member", "role", "dns-name"].map(|key| has(&volume, key));
    assert_eq!(told, ["c", "db", "db-0", "data", "db-0.c.stead.internal"]);
    let ip = address(&volume);
    assert!(ip > Ipv4Addr::new(10, 91, 8, 0) && ip < Ipv4Addr::new(10, 91, 8, 255), "{ip}");
    let again = granted(member(&csi, "one", "db-0", &AUTO).await);
    assert_eq!(again, volume);
    driver.crash().await;
    let get = ControllerGetVolumeRequest { volume_id: volume.volume_id.clone() };
    let got = granted(csi.controller_get_volume(get).await);
    assert_eq!(got.volume.as_ref(), Some(&volume));
    let listed = granted(csi.list_volumes(ListVolumesRequest::default()).await);
    assert_eq!(listed.entries[0].volume.as_ref(), Some(&volume));
    let life = Life::of(&driver, &driver, volume.clone(), ask::mount());
    granted(life.up().await);
    assert!(driver.has_address(&ip.to_string()).await, "{ip} is not on the node");
    granted(life.down().await);
    assert!(!driver.has_address(&ip.to_string()).await, "{ip} stays on the node");
    granted(life.delete().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "CreateVolume": parameters of ours make an identity, others do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_volume_has_no_identity() {
    let Some(driver) = Driver::start().await else { return };
    let mut request = ask::create("plain");
    request.parameters = ask::map([
        ("csi.storage.k8s.io/pvc/name", "data-db-0"),
        ("csi.storage.k8s.io/pvc/namespace", "prod"),
    ]);
    let life = granted(Life::create(&driver, request).await);
    let ours = life.volume.volume_context.keys().filter(|key| key.starts_with("stead.dev/"));
    assert_eq!(ours.collect::<Vec<_>>(), Vec::<&String>::new());
    granted(life.publish().await);
    assert_eq!(life.term(), 1);
    assert_eq!(driver.get("members").await, serde_json::json!([]));
}

//= CSI "CreateVolume": what an orchestrator adds to the parameters (`--extra-create-metadata`).
#[tokio::test(flavor = "multi_thread")]
async fn a_kubernetes_claim_tells_its_member() {
    let setup = Setup::new().option("--orchestrator", "kubernetes");
    let Some(driver) = setup.start().await else { return };
    let request = |name: &str, claim: &str| CreateVolumeRequest {
        parameters: ask::map([
            ("csi.storage.k8s.io/pvc/name", claim),
            ("csi.storage.k8s.io/pvc/namespace", "prod"),
            ("csi.storage.k8s.io/pv/name", name),
            ("stead.dev/static-ip", "none"),
        ]),
        ..ask::create(name)
    };
    let volume = granted(driver.csi().create(request("pvc-1", "data-mongo-2")).await);
    let told = ["cluster", "service", "member", "role"].map(|key| has(&volume, key));
    assert_eq!(told, ["prod", "mongo", "mongo-2", "data"]);
    let journal = granted(driver.csi().create(request("pvc-2", "journal-mongo-2")).await);
    assert_eq!(
        (has(&journal, "member"), has(&journal, "role")),
        ("mongo-2".into(), "journal".into())
    );
    let other = driver.csi().create(request("pvc-3", "lonely")).await;
    refused(other, Code::InvalidArgument, &["stead.dev/member", "claim"]);
}

//= CSI "CreateVolume": calls at once for different volumes; no two members share an address.
#[tokio::test(flavor = "multi_thread")]
async fn members_made_at_once_have_different_addresses() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let names: Vec<_> = (0..16).map(|i| format!("db-{i}")).collect();
    let made = join_all(names.iter().map(|name| member(&csi, name, name, &AUTO))).await;
    let addresses: BTreeSet<_> = made.into_iter().map(|made| address(&granted(made))).collect();
    assert_eq!(addresses.len(), 16, "{addresses:?}");
    assert!(!addresses.contains(&Ipv4Addr::UNSPECIFIED));
    // Small pools run out, and say so.
    let tiny = [("static-ip", "auto"), ("subnet", "10.91.60.0/30"), ("pool", "tiny")];
    granted(member(&csi, "t-0", "tiny-0", &tiny).await);
    let second = member(&csi, "t-1", "tiny-1", &tiny).await;
    if second.is_ok() {
        let third = member(&csi, "t-2", "tiny-2", &tiny).await;
        refused(third, Code::ResourceExhausted, &["tiny"]);
    } else {
        refused(second, Code::ResourceExhausted, &["tiny"]);
    }
}

//= CSI "CreateVolume Errors": "Volume already exists but is incompatible | 6 ALREADY_EXISTS" and
//= "Unsupported [...] | 3 INVALID_ARGUMENT", for an address that is another's or no pool's.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_one_owner_and_lies_in_its_pool() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let exactly = [("static-ip", "10.91.8.77"), SUBNET];
    let first = granted(member(&csi, "one", "db-0", &exactly).await);
    assert_eq!(address(&first), Ipv4Addr::new(10, 91, 8, 77));
    let taken = member(&csi, "two", "db-1", &exactly).await;
    refused(taken, Code::AlreadyExists, &["10.91.8.77", "db-0"]);
    let outside = member(&csi, "two", "db-1", &[("static-ip", "10.99.0.1"), SUBNET]).await;
    refused(outside, Code::InvalidArgument, &["10.99.0.1", "10.91.8.0/24"]);
    for edge in ["10.91.8.0", "10.91.8.255"] {
        let answer = member(&csi, "two", "db-1", &[("static-ip", edge), SUBNET]).await;
        refused(answer, Code::InvalidArgument, &[edge]);
    }
    // What was refused left nothing behind: name, member and address are free.
    let second = granted(member(&csi, "two", "db-1", &AUTO).await);
    assert_ne!(address(&second), address(&first));
    assert_eq!(driver.get("members").await.as_array().map(Vec::len), Some(2));
}

//= CSI "CreateVolume Errors": "Volume already exists but is incompatible | 6 ALREADY_EXISTS".
#[tokio::test(flavor = "multi_thread")]
async fn a_member_has_one_volume_of_each_role() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let data = granted(member(&csi, "one", "db-0", &AUTO).await);
    let second = member(&csi, "two", "db-0", &AUTO).await;
    refused(second, Code::AlreadyExists, &["db-0", "data", &data.volume_id]);
    let journal = granted(member(&csi, "two", "db-0", &[("role", "journal")]).await);
    assert_eq!(has(&journal, "dns-name"), has(&data, "dns-name"));
    let with_ip = [("role", "log"), ("static-ip", "10.91.8.9"), SUBNET];
    refused(member(&csi, "three", "db-0", &with_ip).await, Code::InvalidArgument, &["data"]);
    granted(csi.delete_volume(ask::delete(&data.volume_id)).await);
    let get = ControllerGetVolumeRequest { volume_id: journal.volume_id.clone() };
    granted(csi.controller_get_volume(get).await);
    granted(csi.delete_volume(ask::delete(&journal.volume_id)).await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "DeleteVolume": what belonged to the volume is free; a term never goes down.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_member_frees_its_address_and_keeps_its_term() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let exactly = [("static-ip", "10.91.8.5"), SUBNET];
    let mut last = 0;
    for round in 0..3 {
        let request = ask::create_for("one", "db-0", &exactly);
        let life = granted(Life::create(&driver, request).await);
        granted(life.publish().await);
        let term = life.term();
        assert!(term > last, "round {round}: the term is {term} after {last}");
        granted(life.publish().await);
        assert_eq!(life.term(), term, "a repeat raised the term");
        granted(life.up().await);
        granted(life.end().await);
        driver.crash().await;
        last = term;
    }
    let heir = granted(member(&csi, "two", "db-9", &exactly).await);
    assert_eq!(address(&heir), Ipv4Addr::new(10, 91, 8, 5));
}

/// A member, more parameters, and the words of the refusal.
type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], &'c [&'c str]);

//= CSI "CreateVolume Errors": "Unsupported field value | 3 INVALID_ARGUMENT", with what to change.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_identity_is_refused_with_what_to_change() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    let cases: [Case; 10] = [
        ("db-0", &[("memberr", "x")], &["memberr", "cluster, service, member"]),
        ("DB_0", &[], &["DB_0"]),
        ("db", &[], &["stead.dev/service"]),
        ("db-0", &[("static-ip", "10.91.8")], &["10.91.8", "auto"]),
        ("db-0", &[("static-ip", "auto")], &["subnet"]),
        ("db-0", &[("static-ip", "auto"), ("subnet", "10.91.8.1/24")], &["10.91.8.0/24"]),
        ("db-0", &[("static-ip", "auto"), ("subnet", "10.91.8.0")], &["10.91.8.0"]),
        ("db-0", &[("static-ip", "10.91.8.1,10.91.8.2"), SUBNET], &["one IPv4"]),
        ("db-0", &[("port", "70000")], &["70000", "65535"]),
        ("db-0", &[("cluster", "a b")], &["a b"]),
    ];
    for (name, more, words) in cases {
        refused(member(&csi, "one", name, more).await, Code::InvalidArgument, words);
    }
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "CreateVolume": "If a volume corresponding to the specified volume `name` already exists" with other
//= parameters, it is not handed out for another member.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_not_given_to_another_member() {
    let Some(driver) = Driver::start().await else { return };
    let csi = driver.csi();
    granted(member(&csi, "one", "db-0", &AUTO).await);
    refused(member(&csi, "one", "db-1", &AUTO).await, Code::AlreadyExists, &["one", "parameters"]);
    refused(csi.create(ask::create("one")).await, Code::AlreadyExists, &["one", "parameters"]);
    assert_eq!(driver.get("members").await.as_array().map(Vec::len), Some(1));
}
