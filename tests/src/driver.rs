//! The parts of the driver, each in its host.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use stead_model::{Error, Result};

use crate::folder::Folder;
use crate::host::Host;
use crate::namespace::Process;
use crate::orchestrator::{self, Controller, Node, Paths};

/// The port that the store is served at.
const STORE_PORT: u16 = 9800;

/// The port that DNS is answered at.
pub const DNS_PORT: u16 = 53;

/// How long a part may take to come up.
const START: Duration = Duration::from_secs(30);

/// What the parts have in common.
#[derive(Debug)]
pub struct Driver {
    binary: PathBuf,
    folder: PathBuf,
    pool: PathBuf,
    settings: Settings,
}

/// How a driver is run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a node may act without having renewed its lease.
    pub lease_ttl: Duration,
    /// How long its members wait after that.
    pub lease_grace: Duration,
    /// How long a call is repeated.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(5),
            lease_grace: Duration::from_secs(1),
            patience: Duration::from_secs(60),
        }
    }
}

/// The binary that the tests run: `STEAD_BIN`, or the workspace's debug build, brought up to date.
pub fn built() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("STEAD_BIN") {
        return Ok(path.into());
    }
    let failed = || Error::unavailable("could not build stead");
    let status = Command::new(option_env!("CARGO").unwrap_or("cargo"))
        .args(["build", "--quiet", "-p", "stead"])
        .status()
        .map_err(|error| failed().because(error))?;
    if !status.success() {
        return Err(failed());
    }
    // TARGET/debug/deps/TEST
    let test = std::env::current_exe().map_err(|error| failed().because(error))?;
    let profile = test.parent().and_then(Path::parent).ok_or_else(failed)?;
    Ok(profile.join("stead"))
}

/// The binary under test: `STEAD_BIN`, or this program.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("STEAD_BIN") {
        return Ok(path.into());
    }
    std::env::current_exe()
        .map_err(|error| Error::unavailable("could not find this program's file").because(error))
}

impl Driver {
    /// A driver with its state, its pool and its logs in a folder.
    pub fn new(binary: PathBuf, folder: &Folder, settings: Settings) -> Result<Self> {
        let pool = folder.folder("pool")?;
        Ok(Self { binary, folder: folder.path().to_owned(), pool, settings })
    }

    /// The program whose parts are started.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The directory of the image files.
    pub fn pool(&self) -> &Path {
        &self.pool
    }

    /// What a host has for itself: state, logs, mounts.
    pub fn host_folder(&self, host: &Host) -> PathBuf {
        self.folder.join(host.name())
    }

    /// Where the controller serves the store to its own host.
    pub fn store_socket(&self, host: &Host) -> PathBuf {
        self.host_folder(host).join("state").join("store.sock")
    }

    /// Makes the authority and a certificate for each host.
    pub fn certify(&self, hosts: &[&Host]) -> Result<()> {
        let authority = self.folder.join("ca");
        self.run(&["certificate", "ca", "--out", &display(&authority)])?;
        for host in hosts {
            let (v4, v6) = (host.v4().to_string(), host.v6().to_string());
            let (authority, out) = (display(&authority), display(&self.tls(host)));
            self.run(&[
                "certificate",
                "issue",
                "--ca",
                &authority,
                "--name",
                host.name(),
                "--san",
                &v4,
                "--san",
                &v6,
                "--out",
                &out,
            ])?;
        }
        Ok(())
    }

    /// Starts the controller, which also serves the store and DNS at its host's address.
    pub fn start_controller(&self, host: &Host) -> Result<Process> {
        let mut command = self.part(host, "controller")?;
        command.arg("--endpoint").arg(self.controller_socket(host));
        command.arg("--store-listen").arg(format!("{}:{STORE_PORT}", host.v4()));
        command.arg("--dns-listen").arg(format!("{}:{DNS_PORT}", host.v4()));
        command.arg("--lease-grace").arg(duration(self.settings.lease_grace));
        self.with_pool(&mut command);
        host.spawn("the controller", command)
    }

    /// Starts the node plugin, with the network agent inside or apart from it.
    pub fn start_node(&self, host: &Host, control: &Host, split: bool) -> Result<Process> {
        let mut command = self.part(host, "node")?;
        command.arg("--endpoint").arg(self.node_socket(host));
        if split {
            command.arg("--agent").arg(self.agent_socket(host));
        }
        self.with_pool(&mut command);
        self.with_node(&mut command, host, control);
        host.spawn("the node plugin", command)
    }

    /// Starts the network agent apart from the node plugin.
    pub fn start_netagent(&self, host: &Host, control: &Host) -> Result<Process> {
        let mut command = self.part(host, "netagent")?;
        self.with_pool(&mut command);
        command.arg("--agent-listen").arg(self.agent_socket(host));
        self.with_node(&mut command, host, control);
        host.spawn("the network agent", command)
    }

    /// Waits until the controller is ready.
    pub async fn controller(&self, host: &Host) -> Result<Controller> {
        let socket = self.controller_socket(host);
        orchestrator::ready(&socket, START).await?;
        Controller::new(&socket, self.settings.patience)
    }

    /// Waits until the node plugin is ready.
    pub async fn node(&self, host: &Host) -> Result<Node> {
        let socket = self.node_socket(host);
        orchestrator::ready(&socket, START).await?;
        Node::new(host.name(), &socket, self.settings.patience)
    }

    /// Where a host mounts a volume.
    pub fn paths(&self, host: &Host, volume: &str) -> Result<Paths> {
        let home = self.host_folder(host).join("volumes").join(volume);
        // The orchestrator makes the parent of a target and the staging directory itself.
        let staging = home.join("staging");
        std::fs::create_dir_all(&staging).map_err(|error| {
            Error::unavailable(format!("could not make {}", staging.display())).because(error)
        })?;
        Ok(Paths { staging, target: home.join("target") })
    }

    /// A file for what a program on a host says.
    pub fn log(&self, host: &Host, name: &str) -> Result<File> {
        let home = self.host_folder(host);
        let path = home.join(format!("{name}.log"));
        let open = || {
            std::fs::create_dir_all(&home)?;
            File::options().create(true).append(true).open(&path)
        };
        open().map_err(|error| {
            Error::unavailable(format!("could not open {}", path.display())).because(error)
        })
    }

    fn part(&self, host: &Host, name: &str) -> Result<Command> {
        let mut command = Command::new(&self.binary);
        command.arg(name).args(["--http-listen", ""]).stdin(Stdio::null());
        command.arg("--state-dir").arg(self.host_folder(host).join("state"));
        for (option, file) in
            [("--tls-ca", "ca.crt"), ("--tls-cert", "tls.crt"), ("--tls-key", "tls.key")]
        {
            command.arg(option).arg(self.tls(host).join(file));
        }
        let log = self.log(host, name)?;
        let again = log.try_clone().map_err(|error| {
            Error::unavailable(format!("could not open the log of {name}")).because(error)
        })?;
        command.stdout(log).stderr(again);
        Ok(command)
    }

    fn with_pool(&self, command: &mut Command) {
        command.arg("--pool-shared").arg("--pool-dir").arg(&self.pool);
    }

    fn with_node(&self, command: &mut Command, host: &Host, control: &Host) {
        command.arg("--node-id").arg(host.name());
        command.arg("--node-address").arg(format!("{},{}", host.v4(), host.v6()));
        command.arg("--store").arg(format!("https://{}:{STORE_PORT}", control.v4()));
        command.arg("--lease-ttl").arg(duration(self.settings.lease_ttl));
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new(&self.binary).args(arguments).output().map_err(|error| {
            Error::unavailable(format!("could not run {}", self.binary.display())).because(error)
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let message = format!("'stead {}' failed: {}", arguments.join(" "), said.trim());
        Err(Error::unavailable(message))
    }

    fn tls(&self, host: &Host) -> PathBuf {
        self.folder.join("tls").join(host.name())
    }

    fn controller_socket(&self, host: &Host) -> PathBuf {
        self.folder.join(format!("{}-controller.sock", host.name()))
    }

    fn node_socket(&self, host: &Host) -> PathBuf {
        self.folder.join(format!("{}-node.sock", host.name()))
    }

    fn agent_socket(&self, host: &Host) -> PathBuf {
        self.folder.join(format!("{}-agent.sock", host.name()))
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

fn duration(length: Duration) -> String {
    format!("{}ms", length.as_millis())
}
