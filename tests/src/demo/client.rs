//! The client: it knows the member by its DNS name only, writes as fast as writes are acknowledged,
//! and in the end reads back every write that was.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stead_model::{Error, Result};
use tokio::time::Instant;

use super::dns;
use super::ledger::Ledger;

/// How long a connection may take: far above what a local network needs, far below what a person
/// notices.
const CONNECT: Duration = Duration::from_millis(100);

/// How long an answer may take. The database syncs every write, and the disk is shared.
const ANSWER: Duration = Duration::from_millis(400);

/// The pause after a failed attempt.
const PAUSE: Duration = Duration::from_millis(5);

/// The pause between two writes, so that the client does not take the processor from what it watches.
const PACE: Duration = Duration::from_millis(1);

/// How long the final reading may take to find the member.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many keys are read back at a time.
const BATCH: usize = 500;

/// What the client is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The DNS server.
    pub dns: SocketAddr,
    /// The member's DNS name.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// Where acknowledged writes are noted.
    pub ledger: PathBuf,
}

/// What the client saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Those of them that were not there, or with another value, in the end.
    pub lost: Vec<u64>,
    /// Connections that were made.
    pub connections: u64,
    /// The addresses that the name had.
    pub addresses: BTreeSet<Ipv4Addr>,
}

struct Client {
    options: Options,
    seen: Seen,
}

/// Writes until its standard input ends, reads back, and prints what it saw as JSON.
pub async fn run(options: Options) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    tokio::task::spawn_blocking(move || {
        // Its end is all that the input is for, and an error is an end too.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        told.store(true, Ordering::Relaxed);
    });
    let ledger = Ledger::create(&options.ledger)?;
    let seen = Seen { acknowledged: 0, lost: vec![], connections: 0, addresses: BTreeSet::new() };
    let mut client = Client { options, seen };
    let acknowledged = client.write(ledger, &stop).await?;
    client.read_back(&acknowledged).await?;
    let text = serde_json::to_string(&client.seen)
        .map_err(|error| Error::corrupt("could not say what was seen").because(error))?;
    println!("{text}");
    Ok(())
}

impl Client {
    async fn write(&mut self, mut ledger: Ledger, stop: &AtomicBool) -> Result<Vec<u64>> {
        let mut acknowledged = Vec::new();
        let mut number = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut connection) = self.connect() else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            while !stop.load(Ordering::Relaxed) {
                // Each write has a key of its own: one whose fate is unknown is never repeated.
                number += 1;
                let write =
                    redis::cmd("SET").arg(key(number)).arg(value(number)).exec(&mut connection);
                if write.is_err() {
                    break;
                }
                ledger.acknowledge(number)?;
                acknowledged.push(number);
                tokio::time::sleep(PACE).await;
            }
        }
        self.seen.acknowledged = acknowledged.len() as u64;
        Ok(acknowledged)
    }

    async fn read_back(&mut self, acknowledged: &[u64]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut connection = None;
        let mut batches = acknowledged.chunks(BATCH);
        let mut batch = batches.next();
        while let Some(numbers) = batch {
            let values = match connection.as_mut() {
                Some(connection) => redis::cmd("MGET")
                    .arg(numbers.iter().map(|number| key(*number)).collect::<Vec<_>>())
                    .query::<Vec<Option<String>>>(connection)
                    .map_err(|error| Error::unavailable("could not read back").because(error)),
                None => Err(Error::unavailable("not connected")),
            };
            match values {
                Ok(values) => {
                    let pairs = numbers.iter().zip(values);
                    let lost = pairs.filter(|(number, found)| *found != Some(value(**number)));
                    self.seen.lost.extend(lost.map(|(number, _)| *number));
                    batch = batches.next();
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    connection = self.connect().ok();
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<redis::Connection> {
        let addresses = dns::resolve(self.options.dns, &self.options.name, CONNECT)?;
        let address = *addresses
            .first()
            .ok_or_else(|| Error::not_found(format!("{} has no address", self.options.name)))?;
        self.seen.addresses.extend(addresses);
        let failed = |error: redis::RedisError| {
            Error::unavailable(format!("could not connect to {address}")).because(error)
        };
        let client =
            redis::Client::open((address.to_string(), self.options.port)).map_err(failed)?;
        let connection = client.get_connection_with_timeout(CONNECT).map_err(failed)?;
        connection.set_read_timeout(Some(ANSWER)).map_err(failed)?;
        connection.set_write_timeout(Some(ANSWER)).map_err(failed)?;
        self.seen.connections += 1;
        Ok(connection)
    }
}

fn key(number: u64) -> String {
    format!("write:{number}")
}

fn value(number: u64) -> String {
    format!("value of {number}")
}
