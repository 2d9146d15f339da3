//! What the story is played on: the hosts, the driver's parts and the client.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use stead_model::clock::{BootClock, Clock};
use stead_model::{Error, Result};

use super::client::Seen;
use super::member::Member;
use super::{Options, ledger};
use crate::driver::{DNS_PORT, Driver};
use crate::folder::Folder;
use crate::host::{Host, Network};
use crate::namespace::Process;
use crate::orchestrator::{Controller, Node};

/// How long the client may take to write again once the member is up.
const BACK: Duration = Duration::from_secs(30);

/// How long the client may take to read everything back.
const READ_BACK: Duration = Duration::from_secs(120);

/// Everything that is there from the first step to the last. The fields are dropped in this order:
/// what uses the folder goes before it.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) controller: Controller,
    pub(super) node_a: Node,
    pub(super) node_b: Node,
    pub(super) a: Host,
    pub(super) b: Host,
    client: Host,
    control: Host,
    _network: Network,
    pub(super) driver: Driver,
    ledger: PathBuf,
    folder: Option<Folder>,
}

impl Stage {
    /// Builds it and waits until every part is ready.
    pub(super) async fn build(options: &Options, folder: &Folder) -> Result<Self> {
        let network = Network::create()?;
        let control = network.host("control", 2)?;
        let (a, b) = (network.host("a", 11)?, network.host("b", 12)?);
        let client = network.host("client", 20)?;
        let driver = Driver::new(options.binary.clone(), folder, options.settings)?;
        driver.certify(&[&control, &a, &b])?;
        driver.start_controller(&control)?;
        let controller = driver.controller(&control).await?;
        for host in [&a, &b] {
            driver.start_node(host, &control, false)?;
        }
        let (node_a, node_b) = (driver.node(&a).await?, driver.node(&b).await?);
        Ok(Self {
            controller,
            node_a,
            node_b,
            a,
            b,
            client,
            control,
            _network: network,
            driver,
            ledger: folder.path().join("ledger"),
            folder: None,
        })
    }

    /// The stage with its folder, which then goes with it.
    pub(super) fn owning(self, folder: Folder) -> Self {
        Self { folder: Some(folder), ..self }
    }

    /// The node plugin of a host.
    pub(super) fn node(&self, host: &Host) -> &Node {
        if host.name() == self.node_a.id { &self.node_a } else { &self.node_b }
    }

    /// Where the client notes its acknowledged writes.
    pub(super) fn ledger(&self) -> &Path {
        &self.ledger
    }

    /// Starts the client in its host.
    pub(super) fn start_client(&self, member: &Member) -> Result<Process> {
        let dns = SocketAddr::new(self.control.v4(), DNS_PORT);
        let mut command = Command::new(self.driver.binary());
        command.args(["demo", "client", "--dns"]).arg(dns.to_string());
        command.arg("--name").arg(&member.dns_name);
        command.arg("--port").arg(member.port.to_string());
        command.arg("--ledger").arg(&self.ledger);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(self.driver.log(&self.client, "client")?);
        self.client.spawn("the client", command)
    }

    /// Waits until a write that was acknowledged after a point in time is noted.
    pub(super) async fn wait_for_write(&self, client: &Process, after: Duration) -> Result<()> {
        let deadline = BootClock.now() + BACK;
        while BootClock.now() < deadline {
            if let Some(status) = client.ended()? {
                return Err(Error::corrupt(format!("the client ended by itself ({status})")));
            }
            // The client has not made its ledger yet in its first moments.
            let writes = ledger::read(&self.ledger).unwrap_or_default();
            if writes.last().is_some_and(|write| write.at > after) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(Error::unavailable(format!(
            "the client could not write for {BACK:?}: the member is not back"
        )))
    }

    /// Tells the client to stop writing and to read back; what it saw.
    pub(super) async fn finish_client(&self, client: &Process) -> Result<Seen> {
        drop(client.take_stdin());
        let text = tokio::time::timeout(READ_BACK, client.output()).await;
        let text = text.map_err(|_| Error::unavailable("the client does not end"))??;
        let status = client.wait(READ_BACK).await?;
        if !status.success() {
            return Err(Error::unavailable(format!("the client could not read back ({status})")));
        }
        serde_json::from_str(&text)
            .map_err(|error| Error::corrupt("the client's report cannot be read").because(error))
    }

    /// How a person looks around.
    pub(super) fn directions(&self) -> String {
        let mut text = "The hosts stay until you press Ctrl-C. Look around with:\n".to_owned();
        for host in [&self.b, &self.client, &self.control] {
            let name = host.name();
            text += &format!("  nsenter -t {} -n -m -p bash    # host {name}\n", host.pid());
        }
        let folder = self.folder.as_ref().map(|folder| folder.path().display().to_string());
        text + &format!("  ls {}    # logs, sockets, images", folder.unwrap_or_default())
    }
}
