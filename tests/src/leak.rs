//! What a driver that has no volumes must have none of.

use std::path::Path;
use std::time::Duration;

use stead_model::{Error, Result};
use stead_proto::stead::v1::ListRequest;
use stead_proto::stead::v1::store_client::StoreClient;
use tokio::time::Instant;

use crate::driver::Driver;
use crate::host::{Host, INTERFACE};
use crate::loops;
use crate::orchestrator::channel;

/// How long what is cleared away in the background may take.
const SETTLE: Duration = Duration::from_secs(20);

/// Records that outlive every volume: clusters, their pools and nodes are the operator's, and a
/// member's hold stays because its term never goes down.
const LASTING: [&str; 4] = ["cluster/", "pool/", "node/", "hold/member/"];

/// Everything that is left where nothing should be; empty if all is well.
pub async fn find(driver: &Driver, control: &Host, nodes: &[&Host]) -> Result<Vec<String>> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let found = look(driver, control, nodes).await?;
        if found.is_empty() || Instant::now() > deadline {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn look(driver: &Driver, control: &Host, nodes: &[&Host]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let loops = loops::below(driver.pool())?;
    found.extend(loops.iter().map(|l| format!("loop device {} of {}", l.device.display(), l.file)));
    for folder in ["volumes", "snapshots"] {
        found.extend(entries(&driver.pool().join(folder))?);
    }
    for node in nodes {
        let folder = driver.host_folder(node);
        let mounts = node.mounts().into_iter().filter(|mounted| {
            mounted.source.starts_with("/dev/loop") || mounted.target.starts_with(&folder)
        });
        found.extend(
            mounts.map(|m| format!("mount {} on host {}", m.target.display(), node.name())),
        );
        let own = [node.v4().to_string(), node.v6().to_string()];
        let listed = node.run_in_network("ip", &["-brief", "address", "show", "dev", INTERFACE])?;
        let addresses = listed.split_whitespace().filter_map(|word| word.split_once('/'));
        let strange = addresses
            .map(|(address, _)| address)
            .filter(|address| !own.iter().any(|own| own == address))
            .filter(|address| !address.starts_with("fe80:"));
        found.extend(strange.map(|address| format!("address {address} on host {}", node.name())));
    }
    let records = records(&driver.store_socket(control)).await?;
    let left = records.into_iter().filter(|key| !LASTING.iter().any(|kind| key.starts_with(kind)));
    found.extend(left.map(|key| format!("record {key}")));
    Ok(found)
}

/// The keys of everything in the store.
pub async fn records(socket: &Path) -> Result<Vec<String>> {
    let mut client = StoreClient::new(channel(socket)?);
    let mut keys: Vec<String> = Vec::new();
    loop {
        let request = ListRequest { prefix: String::new(), after: keys.last().cloned(), limit: 0 };
        let page = client
            .list(request)
            .await
            .map_err(|status| Error::unavailable("could not list the store").because(status))?;
        let page = page.into_inner().entries;
        if page.is_empty() {
            return Ok(keys);
        }
        keys.extend(page.into_iter().map(|entry| entry.key));
    }
}

fn entries(folder: &Path) -> Result<Vec<String>> {
    let read = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.and_then(Iterator::collect::<Result<Vec<_>, _>>),
    };
    let entries = read.map_err(|error| {
        Error::unavailable(format!("could not list {}", folder.display())).because(error)
    })?;
    Ok(entries.iter().map(|entry| format!("file {}", entry.path().display())).collect())
}
