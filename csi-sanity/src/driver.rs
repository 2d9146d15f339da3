//! A driver process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use stead_model::image::Layout;
use stead_proto::csi::v1::ProbeRequest;
use tokio::time::Instant;

use crate::network::{self, Network};
use crate::site::Site;
use crate::{Csi, Refused, Setup, binary, host};

/// How long a start or an end may take, on a machine that runs other tests too.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked whether it has happened.
const POLL: Duration = Duration::from_millis(10);
/// How much of a log is shown when a test fails.
const LOG_LINES: usize = 40;

/// A driver on one host: its process, which may be killed and started again, and its directories.
#[derive(Debug)]
pub struct Driver {
    /// The id of its node.
    pub node: String,
    arguments: Vec<std::ffi::OsString>,
    environment: Vec<(String, std::ffi::OsString)>,
    pool: PathBuf,
    home: PathBuf,
    store: PathBuf,
    process: Mutex<Option<Child>>,
    network: Network,
    site: Arc<Site>,
}

impl Driver {
    /// The usual driver, ready.
    pub async fn start() -> Option<Self> {
        Setup::new().start().await
    }

    pub(crate) fn prepare(setup: Setup) -> Self {
        let site = Arc::new(Site::create());
        let pool = setup.pool.clone().unwrap_or_else(|| site.path().join("pool"));
        let mut driver = Self::new(site, "a", pool, &setup);
        let (state, pool) = (driver.state(), driver.pool.clone());
        driver.store = state.join("store.sock");
        let mut arguments = vec!["all".into(), "--pool-dir".into(), pool.into()];
        if setup.shared {
            arguments.push("--pool-shared".into());
        }
        driver.arguments.splice(0..0, arguments);
        driver
    }

    /// A second host: a node plugin on the same pool and the same store.
    pub async fn join(&self, node: &str, setup: Setup) -> Self {
        let mut driver = Self::new(self.site.clone(), node, self.pool.clone(), &setup);
        driver.store = self.store.clone();
        let mut arguments = vec!["node".into(), "--pool-shared".into(), "--pool-dir".into()];
        arguments.extend([self.pool.clone().into(), "--store".into(), unix(&self.store).into()]);
        driver.arguments.splice(0..0, arguments);
        driver.start_process().await;
        driver
    }

    fn new(site: Arc<Site>, node: &str, pool: PathBuf, setup: &Setup) -> Self {
        let home = site.folder(node);
        let mut arguments: Vec<std::ffi::OsString> = vec!["--node-id".into(), node.into()];
        arguments.extend(["--state-dir".into(), home.join("state").into()]);
        arguments.extend(["--endpoint".into(), unix(&home.join("csi.sock")).into()]);
        arguments.extend(["--node-address".into(), network::ADDRESS.into()]);
        arguments.extend(["--http-listen".into(), "".into()]);
        arguments.extend(setup.options.iter().cloned());
        Self {
            node: node.to_owned(),
            arguments,
            environment: setup.environment.clone(),
            pool,
            store: PathBuf::new(),
            home,
            process: Mutex::default(),
            network: Network::create(),
            site,
        }
    }

    /// A client of its socket.
    pub fn csi(&self) -> Csi {
        Csi::new(&self.home.join("csi.sock"))
    }

    /// A path in the folder of the test, for staging and target paths.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// The directory of what has to survive a restart.
    pub fn state(&self) -> PathBuf {
        self.home.join("state")
    }

    /// The pool as it lies on the disk.
    pub fn pool(&self) -> Layout {
        Layout::new(&self.pool)
    }

    /// Everything that the process has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.home.join("log")).unwrap_or_default()).into_owned()
    }

    /// Starts the process (again) and waits until it answers that it is ready.
    pub async fn start_process(&self) {
        let child = match self.command().spawn() {
            Ok(child) => child,
            Err(error) => panic!("the driver cannot be run: {error}"),
        };
        *self.lock() = Some(child);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let probed = self.csi().probe(ProbeRequest {}).await;
            if probed.as_ref().is_ok_and(|probed| probed.ready == Some(true)) {
                return;
            }
            if let Some(child) = &mut *self.lock()
                && let Ok(Some(status)) = child.try_wait()
            {
                panic!("the driver ended with {status} instead of starting: {}", self.log_end());
            }
            assert!(Instant::now() < deadline, "the driver is not ready: {probed:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Starts the process where it must not start, and returns how it ended.
    pub async fn start_refused(&self) -> Refused {
        let mut command = tokio::process::Command::from(self.command());
        command.stderr(Stdio::piped()).kill_on_drop(true);
        match tokio::time::timeout(PATIENCE, command.output()).await {
            Ok(Ok(output)) => Refused::new(&output),
            Ok(Err(error)) => panic!("the driver cannot be run: {error}"),
            Err(_) => panic!("the driver goes on running where it has to end: {}", self.log_end()),
        }
    }

    /// Kills the process at once, as a crash would.
    pub fn kill(&self) {
        if let Some(mut child) = self.lock().take() {
            // A process that has ended by itself cannot be killed; it is reaped either way.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills the process and starts it again.
    pub async fn crash(&self) {
        self.kill();
        self.start_process().await;
    }

    /// Stops the process so that it does nothing at all, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        self.signal(signal);
    }

    /// Asks the process to end and returns its exit code.
    pub async fn terminate(&self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(child) = &mut *self.lock()
                && let Ok(Some(status)) = child.try_wait()
            {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the driver does not end: {}", self.log_end());
            tokio::time::sleep(POLL).await;
        }
    }

    /// What the store says, by `stead get KIND -o json`.
    pub async fn get(&self, kind: &str) -> Value {
        let mut command = tokio::process::Command::new(self.binary());
        command.args(["get", kind, "-o", "json", "--store", &unix(&self.store)]);
        let output = match command.output().await {
            Ok(output) => output,
            Err(error) => panic!("'stead get' cannot be run: {error}"),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "'stead get {kind}' failed: {said}");
        match serde_json::from_slice(&output.stdout) {
            Ok(value) => value,
            Err(error) => panic!("'stead get {kind} -o json' prints no JSON: {error}"),
        }
    }

    /// What volumes have left behind: nothing, once all of them are deleted.
    pub async fn residue(&self) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        let folder = self.site.path();
        let mounts = host::mounts_below(folder).into_iter();
        left.extend(
            mounts.filter(|m| m.target != self.pool).map(|m| format!("mount {:?}", m.target)),
        );
        let loops = host::loops_below(folder).into_iter();
        left.extend(
            loops
                .filter(|found| Path::new(&found.file).starts_with(&self.pool))
                .map(|found| format!("{:?}", found)),
        );
        let layout = self.pool();
        for folder in
            [layout.volumes(), self.pool.join("snapshots"), self.state().join("node/volumes")]
        {
            left.extend(
                host::names(&folder).into_iter().map(|n| format!("{}/{n}", folder.display())),
            );
        }
        for kind in ["volumes", "snapshots", "members", "services"] {
            let listed = self.get(kind).await;
            if listed.as_array().is_none_or(|listed| !listed.is_empty()) {
                left.push(format!("{kind}: {listed}"));
            }
        }
        left
    }

    /// Whether the addresses of its host have this one.
    pub async fn has_address(&self, address: &str) -> bool {
        let mut command = self.network.command();
        command.args(["ip", "-oneline", "address", "show"]);
        let shown = tokio::process::Command::from(command).output().await;
        let text = shown.map(|shown| String::from_utf8_lossy(&shown.stdout).into_owned());
        text.unwrap_or_default().contains(&format!(" {address}/"))
    }

    fn command(&self) -> Command {
        let mut command = self.network.command();
        command.arg(self.binary()).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let log = self.home.join("log");
        match File::options().create(true).append(true).open(&log) {
            Ok(log) => command.stderr(log),
            Err(error) => panic!("{} cannot be written: {error}", log.display()),
        };
        command
    }

    fn binary(&self) -> PathBuf {
        match binary::find() {
            Ok(path) => path,
            Err(error) => panic!("{error}"),
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &*self.lock() {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
        }
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the end of the log of driver '{}':\n{}", self.node, self.log_end());
            return;
        }
        // Whatever it answered: a panic is never right.
        let log = self.log();
        let panic = log.lines().find(|line| line.contains("panicked at"));
        assert!(panic.is_none(), "driver '{}' panicked: {panic:?}", self.node);
    }
}

fn unix(path: &Path) -> String {
    format!("unix://{}", path.display())
}
