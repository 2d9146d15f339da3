//! A host that is cut off from the store loses its members' addresses before another host has them.

// The helpers of a test are as much of a test as the function that is marked so.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use stead_rig::driver::{self, Driver, Settings};
use stead_rig::folder::Folder;
use stead_rig::host::{Host, INTERFACE, Network};
use stead_rig::orchestrator::Wish;
use stead_rig::{leak, need};

/// Whether a host has the member's address.
fn has(host: &Host, address: &str) -> bool {
    let addresses =
        host.run_in_network("ip", &["-brief", "address", "show", "dev", INTERFACE]).unwrap();
    addresses
        .split_whitespace()
        .any(|word| word.split_once('/').is_some_and(|(found, _)| found == address))
}

fn database() -> Wish<'static> {
    Wish {
        name: "db-0",
        size: 64 << 20,
        file_system: "ext4",
        parameters: vec![
            ("stead.dev/cluster", "cut"),
            ("stead.dev/service", "db"),
            ("stead.dev/member", "db-0"),
            ("stead.dev/static-ip", "auto"),
            ("stead.dev/subnet", "10.77.0.128/25"),
            ("stead.dev/interface", INTERFACE),
        ],
    }
}

fn write_for_ever(host: &Host, target: &Path) -> stead_rig::namespace::Process {
    let script = format!("cd {}; while :; do date >> written; sleep 0.05; done", target.display());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::null()).stderr(Stdio::null());
    host.spawn("the workload", command).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_the_store_loses_the_address_before_another_may_have_it() {
    if !need::met(&[need::IP, need::MOUNT, need::LOSETUP, need::EXT4]).unwrap() {
        return;
    }
    let mut folder = Folder::create().unwrap();
    println!("logs: {}", folder.path().display());
    // They tell what happened unless all goes well.
    folder.keep();
    let network = Network::create().unwrap();
    let control = network.host("control", 2).unwrap();
    let (a, b) = (network.host("a", 11).unwrap(), network.host("b", 12).unwrap());
    let settings = Settings { patience: Duration::from_secs(20), ..Settings::default() };
    let driver = Driver::new(driver::built().unwrap(), &folder, settings).unwrap();
    driver.certify(&[&control, &a, &b]).unwrap();
    driver.start_controller(&control).unwrap();
    let controller = driver.controller(&control).await.unwrap();
    for host in [&a, &b] {
        driver.start_node(host, &control, false).unwrap();
    }
    let (node_a, node_b) = (driver.node(&a).await.unwrap(), driver.node(&b).await.unwrap());
    let claim = controller.create(&database()).await.unwrap();
    let address = claim.identity("static-ip").unwrap().to_owned();
    let context = controller.publish(&claim, "a").await.unwrap();
    let (paths_a, paths_b) =
        (driver.paths(&a, &claim.id).unwrap(), driver.paths(&b, &claim.id).unwrap());
    node_a.mount(&claim, &context, &paths_a).await.unwrap();
    let workload = write_for_ever(&a, &paths_a.target);
    assert!(has(&a, &address));

    // Everything else of the network still works: clients of the old holder can reach it.
    let store = control.v4().to_string();
    a.run_in_network("ip", &["route", "add", "blackhole", &store]).unwrap();
    controller.unpublish(&claim, "a").await.unwrap();
    let context = controller.publish(&claim, "b").await.unwrap();
    assert!(!has(&a, &address), "another may have it and it is still here");

    // It comes back and takes nothing that is not its own any more.
    a.run_in_network("ip", &["route", "delete", "blackhole", &store]).unwrap();
    tokio::time::sleep(settings.lease_ttl).await;
    assert!(!has(&a, &address));
    workload.stop(settings.patience).await.unwrap();
    // All hosts share a kernel here, so the image is free for the one when the other has closed it.
    node_a.unmount(&claim, &paths_a).await.unwrap();
    node_b.mount(&claim, &context, &paths_b).await.unwrap();
    assert!(has(&b, &address) && !has(&a, &address));
    let written = std::fs::read_to_string(b.path(&paths_b.target.join("written"))).unwrap();
    assert!(!written.is_empty());
    node_b.unmount(&claim, &paths_b).await.unwrap();
    controller.unpublish(&claim, "b").await.unwrap();
    controller.delete(&claim).await.unwrap();
    let found = leak::find(&driver, &control, &[&a, &b]).await.unwrap();
    assert_eq!(found, Vec::<String>::new());
    folder.discard();
}
