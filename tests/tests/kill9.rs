//! Every part of the driver is killed at random while volumes live their lives. Each call is repeated
//! until it succeeds, as an orchestrator does; in the end no byte is lost and nothing is left.

// The helpers of a test are as much of a test as the function that is marked so.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use stead_rig::chaos::{Chaos, Start};
use stead_rig::driver::{self, Driver, Settings};
use stead_rig::folder::Folder;
use stead_rig::host::{Host, INTERFACE, Network};
use stead_rig::orchestrator::{Claim, Controller, Node, Wish};
use stead_rig::{leak, need};

/// Lives, unless `STEAD_LIVES` says how many.
const LIVES: u64 = 25;

/// Volumes that live at the same time.
const AT_ONCE: u64 = 3;

/// Between two kills.
const PAUSES: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(900);

const PATTERN_BYTES: usize = 1 << 20;

struct World<'a> {
    driver: &'a Driver,
    controller: Controller,
    nodes: [(&'a Host, Node); 2],
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_and_leaves_nothing() {
    if !need::met(&[need::IP, need::MOUNT, need::LOSETUP, need::EXT4]).unwrap() {
        return;
    }
    let seed = number("STEAD_SEED").unwrap_or_else(rand::random);
    let lives = number("STEAD_LIVES").unwrap_or(LIVES);
    println!("seed {seed}: STEAD_SEED={seed} repeats the kills");
    let mut folder = Folder::create().unwrap();
    println!("logs: {}", folder.path().display());
    // They tell what happened unless all goes well.
    folder.keep();
    let network = Network::create().unwrap();
    let control = network.host("control", 2).unwrap();
    let (a, b) = (network.host("a", 11).unwrap(), network.host("b", 12).unwrap());
    let settings = Settings { patience: Duration::from_secs(120), ..Settings::default() };
    let driver = Driver::new(driver::built().unwrap(), &folder, settings).unwrap();
    driver.certify(&[&control, &a, &b]).unwrap();
    let starts: Vec<Start> = vec![
        Box::new(|| driver.start_controller(&control)),
        Box::new(|| driver.start_netagent(&a, &control)),
        Box::new(|| driver.start_netagent(&b, &control)),
        Box::new(|| driver.start_node(&a, &control, true)),
        Box::new(|| driver.start_node(&b, &control, true)),
    ];
    let mut chaos = Chaos::start(starts, seed).unwrap();
    let controller = driver.controller(&control).await.unwrap();
    let nodes = [(&a, driver.node(&a).await.unwrap()), (&b, driver.node(&b).await.unwrap())];
    let world = World { driver: &driver, controller, nodes };
    let next = AtomicU64::new(0);
    let worker = || async {
        loop {
            let life = next.fetch_add(1, Ordering::Relaxed);
            if life >= lives {
                return;
            }
            live(&world, life, seed).await;
        }
    };
    let all_live = async { tokio::join!(worker(), worker(), worker()) };
    let killing = async {
        loop {
            chaos.strike(PAUSES).await.unwrap();
        }
    };
    tokio::select! {
        _ = all_live => {}
        () = killing => unreachable!(),
    }
    chaos.check().unwrap();
    let found = leak::find(&driver, &control, &[&a, &b]).await.unwrap();
    assert_eq!(found, Vec::<String>::new(), "seed {seed}");
    let records = leak::records(&driver.store_socket(&control)).await.unwrap();
    let terms = records.iter().any(|key| key.starts_with("hold/member/"));
    assert!(terms, "the terms of deleted members are gone: {records:?}");
    println!("{lives} lives, {AT_ONCE} at once, and {} kills", chaos.kills());
    drop((chaos, world));
    folder.discard();
}

/// A volume's life: it is made, written on one node, read on the other, read on the first, deleted.
async fn live(world: &World<'_>, life: u64, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed ^ (life + 1).rotate_left(32));
    let (name, member) = (format!("life-{life}"), format!("db-{life}"));
    let mut parameters = Vec::new();
    if random.random_bool(0.7) {
        parameters = vec![
            ("stead.dev/cluster", "chaos"),
            ("stead.dev/service", "db"),
            ("stead.dev/member", &member),
            ("stead.dev/static-ip", "auto"),
            ("stead.dev/subnet", "10.77.0.128/25"),
            ("stead.dev/interface", INTERFACE),
        ];
    }
    let wish = Wish { name: &name, size: 64 << 20, file_system: "ext4", parameters };
    let claim = world.controller.create(&wish).await.unwrap();
    let mut pattern = vec![0; PATTERN_BYTES];
    random.fill_bytes(&mut pattern);
    let first = random.random_range(0..2);
    for (visit, node) in [first, 1 - first, first].into_iter().enumerate() {
        visit_node(world, &claim, &world.nodes[node], &pattern, visit).await;
    }
    world.controller.delete(&claim).await.unwrap();
}

async fn visit_node(
    world: &World<'_>,
    claim: &Claim,
    (host, node): &(&Host, Node),
    pattern: &[u8],
    visit: usize,
) {
    let what = format!("{} on {} ({visit})", claim.id, host.name());
    let context = world.controller.publish(claim, &node.id).await.expect(&what);
    let paths = world.driver.paths(host, &claim.id).expect(&what);
    node.mount(claim, &context, &paths).await.expect(&what);
    let target = host.path(&paths.target);
    for earlier in 0..visit {
        let mut read = Vec::new();
        let file = target.join(format!("visit-{earlier}"));
        File::open(&file).expect(&what).read_to_end(&mut read).expect(&what);
        assert!(read == pattern, "{what}: what visit {earlier} wrote is not there");
    }
    write(&target.join(format!("visit-{visit}")), pattern);
    node.unmount(claim, &paths).await.expect(&what);
    world.controller.unpublish(claim, &node.id).await.expect(&what);
}

fn write(path: &Path, pattern: &[u8]) {
    let mut file = File::create_new(path).unwrap();
    file.write_all(pattern).unwrap();
    file.sync_all().unwrap();
}
