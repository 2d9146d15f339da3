//! The member: a real database on a volume.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use stead_model::Result;

use super::Narrator;
use super::stage::Stage;
use crate::host::Host;
use crate::namespace::Process;
use crate::need;
use crate::orchestrator::{Claim, Wish};

/// How long the database may take to end when it is asked to.
const STOP: Duration = Duration::from_secs(10);

const PORT: u16 = 6379;

/// Half of the network is for members; the hosts have theirs in the other half.
const SUBNET: &str = "10.77.0.128/25";

/// A member and where it is.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) dns_name: String,
    pub(super) address: String,
    pub(super) port: u16,
    claim: Claim,
    at: Option<(String, Process)>,
}

impl Member {
    /// Makes its volume, and with that its identity.
    pub(super) async fn create(stage: &Stage) -> Result<Self> {
        let port = PORT.to_string();
        let wish = Wish {
            name: "cache-0",
            size: 256 << 20,
            file_system: "ext4",
            parameters: vec![
                ("stead.dev/cluster", "demo"),
                ("stead.dev/service", "cache"),
                ("stead.dev/member", "cache-0"),
                ("stead.dev/static-ip", "auto"),
                ("stead.dev/subnet", SUBNET),
                ("stead.dev/interface", crate::host::INTERFACE),
                ("stead.dev/port", &port),
            ],
        };
        let claim = stage.controller.create(&wish).await?;
        let word = |word| claim.identity(word).map(str::to_owned);
        let (name, dns_name, address) = (word("member")?, word("dns-name")?, word("static-ip")?);
        Ok(Self { name, dns_name, address, port: PORT, claim, at: None })
    }

    /// Brings it up on a host: volume, address, name, database.
    pub(super) async fn start(
        &mut self,
        stage: &Stage,
        host: &Host,
        narrator: &mut Narrator<'_>,
    ) -> Result<()> {
        let name = host.name();
        let context = stage.controller.publish(&self.claim, name).await?;
        narrator.tell(format!("host {name} holds the member"));
        let paths = stage.driver.paths(host, &self.claim.id)?;
        stage.node(host).mount(&self.claim, &context, &paths).await?;
        narrator.tell(format!("its volume is mounted on host {name} and its address is up there"));
        let database = start_database(stage, host, paths.target)?;
        self.at = Some((name.to_owned(), database));
        narrator.tell(format!("its database is started on host {name}"));
        Ok(())
    }

    /// Takes it down in order, wherever it is.
    pub(super) async fn stop(&mut self, stage: &Stage, narrator: &mut Narrator<'_>) -> Result<()> {
        let Some((name, database)) = self.at.take() else { return Ok(()) };
        let host = if name == stage.a.name() { &stage.a } else { &stage.b };
        database.stop(STOP).await?;
        narrator.tell(format!("its database on host {name} has stopped"));
        let paths = stage.driver.paths(host, &self.claim.id)?;
        stage.node(host).unmount(&self.claim, &paths).await?;
        narrator.tell(format!("its address and its volume are gone from host {name}"));
        stage.controller.unpublish(&self.claim, &name).await
    }

    /// Takes it away from a host that does not answer any more, as soon as the controller allows it.
    pub(super) async fn take_away(&mut self, stage: &Stage, name: &str) -> Result<()> {
        self.at = None;
        stage.controller.unpublish(&self.claim, name).await
    }
}

fn start_database(stage: &Stage, host: &Host, data: PathBuf) -> Result<Process> {
    let log = stage.driver.log(host, "database")?;
    let mut command = Command::new(need::REDIS.find()?);
    command.arg("--port").arg(PORT.to_string()).args(["--bind", "0.0.0.0"]);
    // Reachable from other hosts without a password: this network has no way out.
    command.args(["--protected-mode", "no"]);
    // Acknowledged means on disk.
    command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
    command.arg("--dir").arg(data);
    command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
    host.spawn("the database", command)
}
