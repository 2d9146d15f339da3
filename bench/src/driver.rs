//! A real driver process with directories of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::{BenchError, Result};

/// How long the driver may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// The node that the driver serves.
pub const NODE: &str = "bench";

/// A running `stead all`. Dropped, it is killed.
pub struct Driver {
    child: Child,
    dir: PathBuf,
}

/// The memory of the driver that is in RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Now.
    pub rss_kib: u64,
    /// The most it ever was.
    pub peak_kib: u64,
}

impl Driver {
    /// Starts the driver with everything below `dir`, and waits until its socket answers.
    pub async fn start(binary: &Path, dir: &Path) -> Result<Self> {
        if !binary.is_file() {
            return Err(BenchError::NoDriver { path: binary.to_owned() });
        }
        let log = dir.join("driver.log");
        let file = File::create(&log).map_err(|error| BenchError::io("make the log", error))?;
        let errors = file.try_clone().map_err(|error| BenchError::io("share the log", error))?;
        let child = Command::new(binary)
            .args(["all", "--node-id", NODE, "--http-listen", "", "--log-level", "warn"])
            .arg("--state-dir")
            .arg(dir.join("state"))
            .arg("--endpoint")
            .arg(dir.join("csi.sock"))
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| BenchError::io(format!("run '{}'", binary.display()), error))?;
        let mut driver = Self { child, dir: dir.to_owned() };
        driver.wait_for_sockets().await?;
        Ok(driver)
    }

    async fn wait_for_sockets(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failure(format!("the driver ended at its start with {status}")));
            }
            let (csi, store) = (self.csi_socket(), self.store_socket());
            if UnixStream::connect(csi).await.is_ok() && UnixStream::connect(store).await.is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.failure("the driver did not answer at its sockets".to_owned()));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where CSI is served.
    pub fn csi_socket(&self) -> PathBuf {
        self.dir.join("csi.sock")
    }

    /// Where the identity store is served.
    pub fn store_socket(&self) -> PathBuf {
        self.dir.join("state/store.sock")
    }

    /// Where the images are.
    pub fn pool(&self) -> PathBuf {
        self.dir.join("state/pool")
    }

    /// What the kernel says of the driver's memory.
    pub fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.child.id().unwrap_or_default());
        let text = fs::read_to_string(&path)
            .map_err(|error| BenchError::io(format!("read {path}"), error))?;
        Ok(Memory { rss_kib: field(&text, "VmRSS:"), peak_kib: field(&text, "VmHWM:") })
    }

    /// An error of the driver with the end of its log.
    pub fn failure(&self, what: String) -> BenchError {
        const LINES: usize = 20;
        let log = fs::read_to_string(self.dir.join("driver.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let log = lines[lines.len().saturating_sub(LINES)..].join("\n");
        BenchError::Driver { what, log }
    }

    /// Asks the driver to end, and waits until it has.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM)
                .map_err(|error| BenchError::io("signal the driver", error.into()))?;
        }
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.failure(format!("the driver ended with {status}"))),
            Ok(Err(error)) => Err(BenchError::io("wait for the driver", error)),
            Err(_) => Err(self.failure("the driver did not end when told to".to_owned())),
        }
    }
}

/// A connection to a UNIX socket.
pub async fn connect(socket: PathBuf) -> Result<Channel> {
    let dial = move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    };
    // The address is never looked up: the connector knows the socket.
    let endpoint = Endpoint::from_static("http://unix");
    let channel = endpoint.connect_with_connector(tower::service_fn(dial));
    channel.await.map_err(|error| BenchError::io("connect", std::io::Error::other(error)))
}

/// A number of KiB in `/proc/PID/status`; 0 where it is absent.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_process_tells_its_memory() {
        let status = "Name:\tstead\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(field(status, "VmRSS:"), 10240);
        assert_eq!(field(status, "VmHWM:"), 20480);
        assert_eq!(field(status, "VmSwap:"), 0);
    }
}
