//! Running the binary.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};

/// How long a process may take to come up.
const START: Duration = Duration::from_secs(30);

/// The binary, deaf to what the environment of the tests may say.
pub(crate) fn stead(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stead"));
    for (name, _) in std::env::vars_os() {
        let ours = name.to_string_lossy();
        if ours.starts_with("STEAD_") || ours.starts_with("CSI_") {
            command.env_remove(&name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    stead(arguments).output().unwrap()
}

/// What it said on standard output, if it succeeded.
pub(crate) fn out(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The code that it ended with, and what it said on standard error.
pub(crate) fn refused(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    let code = output.status.code().unwrap();
    assert_ne!(code, 0, "{arguments:?} succeeded");
    (code, String::from_utf8(output.stderr).unwrap())
}

/// A port that nobody uses now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A serving process; killed when dropped.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    pub(crate) csi: PathBuf,
    pub(crate) store: String,
}

impl Server {
    /// Starts `stead PART` with its state and its sockets in `dir`, and waits until it is ready.
    pub(crate) async fn start(part: &str, dir: &Path, more: &[&str]) -> Self {
        let (csi, log) = (dir.join("csi.sock"), dir.join("log"));
        let state = dir.join("state");
        let file = std::fs::File::create(&log).unwrap();
        let mut command = stead(&[part]);
        command.arg("--endpoint").arg(&csi).arg("--state-dir").arg(&state);
        if !more.contains(&"--http-listen") {
            command.args(["--http-listen", ""]);
        }
        let child = command.args(more).stderr(file).spawn().unwrap();
        let store = format!("unix://{}", state.join("store.sock").display());
        let mut server = Self { child, log, csi, store };
        server.wait_until_ready().await;
        server
    }

    async fn wait_until_ready(&mut self) {
        use stead_proto::csi::v1::ProbeRequest;
        use stead_proto::csi::v1::identity_client::IdentityClient;
        let end = Instant::now() + START;
        while Instant::now() < end {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {}", self.log());
            let probe = IdentityClient::new(self.channel()).probe(ProbeRequest {}).await;
            if probe.is_ok_and(|answer| answer.into_inner().ready == Some(true)) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("it is not ready: {}", self.log());
    }

    /// A connection to the CSI socket.
    pub(crate) fn channel(&self) -> Channel {
        let uri = format!("unix://{}", self.csi.display());
        Endpoint::from_shared(uri).unwrap().connect_lazy()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends a signal and waits for the end; says how long that took.
    pub(crate) async fn end(&mut self, signal: Signal) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, begun.elapsed());
            }
            assert!(begun.elapsed() < START, "it does not end: {}", self.log());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether what needs root can be tested; where it has to be, it is.
pub(crate) fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    let required = std::env::var_os("STEAD_E2E").is_some_and(|value| value == "required");
    assert!(root || !required, "{test} needs root");
    if !root {
        eprintln!("SKIPPED: {test} needs root");
    }
    root
}
