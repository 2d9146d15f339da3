//! A set of namespaces (network, mounts, processes) and what runs in it.
//!
//! They have no names: they live as long as their first process, which ends when this program does,
//! however it ends. A run that was killed therefore leaves no namespace behind.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stead_model::{Error, Result};
use tokio::time::Instant;

/// The first process: it waits for the end of its input, which this program holds open.
const INIT: &str = "mount --make-rprivate / && mount -t proc proc /proc && mount -t sysfs sysfs /sys \
                    && ip link set lo up && echo ready && read _";

/// How often a process is asked whether it has ended; its end is a signal to its parent alone, and
/// the parent may be in the middle of a drop.
const POLL: Duration = Duration::from_millis(2);

/// A process in a namespace. It dies with the namespace, and when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Process {
    name: String,
    child: Arc<Mutex<Child>>,
}

impl Process {
    /// What it was started as.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id as this program sees it.
    pub fn pid(&self) -> u32 {
        self.lock().id()
    }

    /// How it ended, once it has.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.lock().try_wait().map_err(|error| {
            Error::unavailable(format!("could not wait for {}", self.name)).because(error)
        })
    }

    /// Sends a signal. A process that has ended is left alone: its id may be somebody else's by now.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.lock();
        if matches!(child.try_wait(), Ok(Some(_))) {
            return Ok(());
        }
        kill(Pid::from_raw(child.id().cast_signed()), signal).map_err(|error| {
            Error::unavailable(format!("could not send {signal} to {}", self.name)).because(error)
        })
    }

    /// Waits for its end.
    pub async fn wait(&self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                let message = format!("{} still runs after {patience:?}", self.name);
                return Err(Error::unavailable(message));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks it to end, and makes it where it does not.
    pub async fn stop(&self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        match self.wait(patience).await {
            Ok(status) => Ok(status),
            Err(_) => {
                self.signal(Signal::SIGKILL)?;
                self.wait(patience).await
            }
        }
    }

    /// Its standard input, for whoever asks first.
    pub fn take_stdin(&self) -> Option<ChildStdin> {
        self.lock().stdin.take()
    }

    /// Everything it says on its standard output, which has to be piped; ends with the process.
    pub async fn output(&self) -> Result<String> {
        let name = self.name.clone();
        let stdout = self.lock().stdout.take();
        let read = tokio::task::spawn_blocking(move || match stdout {
            Some(stdout) => std::io::read_to_string(stdout),
            None => Ok(String::new()),
        });
        match read.await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(error)) => Err(unreadable(&name).because(error)),
            Err(error) => Err(unreadable(&name).because(error)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kill_and_reap(&self) {
        let mut child = self.lock();
        // Only a child that has ended already cannot be killed, and then the wait reaps it.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn unreadable(name: &str) -> Error {
    Error::unavailable(format!("could not read what {name} says"))
}

/// The namespaces, the process that keeps them and those that were started in them.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    init: Process,
    // It keeps the first process waiting.
    _stdin: Option<ChildStdin>,
    // Open, they keep the mounts: none once it is killed.
    entrances: Mutex<Vec<(CloneFlags, File)>>,
    processes: Mutex<Vec<Process>>,
}

impl Namespace {
    /// Makes new ones, with only the loopback interface up.
    pub fn create(name: &str) -> Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", INIT]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
        let mut child = spawn_from_thread(name, command, move || unshare(flags))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let init = Process {
            name: format!("the first process of {name}"),
            child: Arc::new(Mutex::new(child)),
        };
        let mut line = String::new();
        let ready = stdout.map(|stdout| BufReader::new(stdout).read_line(&mut line));
        if !matches!(ready, Some(Ok(_))) || line.trim() != "ready" {
            init.kill_and_reap();
            return Err(Error::unavailable(format!(
                "{name} did not come up: its first process could not mount /proc and /sys"
            )));
        }
        let entrances = match entrances(init.pid()) {
            Ok(entrances) => Mutex::new(entrances.into()),
            Err(error) => {
                init.kill_and_reap();
                return Err(error);
            }
        };
        let processes = Mutex::default();
        Ok(Self { name: name.to_owned(), init, _stdin: stdin, entrances, processes })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id of its first process as this program sees it.
    pub fn pid(&self) -> u32 {
        self.init.pid()
    }

    /// A path of the namespace as this program can open it.
    pub fn path(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The mounts that the namespace sees: source, mount point and file system of each.
    pub fn mounts(&self) -> Vec<Mounted> {
        let table = std::fs::read_to_string(format!("/proc/{}/mounts", self.pid()));
        // The namespace is gone when the table is: then nothing is mounted in it.
        table.unwrap_or_default().lines().filter_map(Mounted::parse).collect()
    }

    /// Starts a program in it, in a process group of its own so that a terminal's interrupt reaches
    /// this program alone.
    pub fn spawn(&self, name: &str, mut command: Command) -> Result<Process> {
        command.process_group(0);
        let entrances = self.open(CloneFlags::all())?;
        let child = spawn_from_thread(name, command, move || enter(&entrances))?;
        let process = Process { name: name.to_owned(), child: Arc::new(Mutex::new(child)) };
        let mut processes = self.processes();
        processes.retain(|process| !matches!(process.ended(), Ok(Some(_))));
        processes.push(process.clone());
        Ok(process)
    }

    /// Runs a program in its network alone: other process ids and files are those of this program.
    pub fn run_in_network(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let entrances = self.open(CloneFlags::CLONE_NEWNET)?;
        finish(spawn_from_thread(program, command, move || enter(&entrances))?, program, arguments)
    }

    /// Runs a function in its network: a socket made there stays there, wherever it is used.
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let entrances = self.open(CloneFlags::CLONE_NEWNET)?;
        let done =
            std::thread::scope(|scope| scope.spawn(|| enter(&entrances).map(|()| work())).join());
        let failed = || Error::unavailable(format!("could not enter the network of {}", self.name));
        done.map_err(|_| failed())?.map_err(|error| failed().because(error))
    }

    /// Runs a program in it to its end; its output.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let entrances = self.open(CloneFlags::all())?;
        finish(spawn_from_thread(program, command, move || enter(&entrances))?, program, arguments)
    }

    /// Kills everything in it and returns when all of it is gone.
    pub fn kill(&self) {
        self.entrances.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // Children of this program first: the kernel holds the first process back until their
        // parent has reaped them.
        let _ = self.init.lock().kill();
        for process in self.processes().drain(..) {
            process.kill_and_reap();
        }
        self.init.kill_and_reap();
    }

    fn open(&self, flags: CloneFlags) -> Result<Vec<(CloneFlags, File)>> {
        let entrances = self.entrances.lock().unwrap_or_else(PoisonError::into_inner);
        if entrances.is_empty() {
            return Err(Error::precondition(format!("{} is off", self.name)));
        }
        let wanted = entrances.iter().filter(|(flag, _)| flags.contains(*flag));
        let opened = wanted.map(|(flag, file)| file.try_clone().map(|file| (*flag, file)));
        opened.collect::<Result<_, _>>().map_err(|error| {
            Error::exhausted(format!("could not open the namespaces of {}", self.name))
                .because(error)
        })
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// What is mounted.
    pub source: String,
    /// Where.
    pub target: PathBuf,
    /// The file system.
    pub kind: String,
}

impl Mounted {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (source, target, kind) = (fields.next()?, fields.next()?, fields.next()?);
        // The kernel writes a space as \040; no path of a rig has any other such character.
        let target = PathBuf::from(target.replace("\\040", " "));
        Some(Self { source: source.to_owned(), target, kind: kind.to_owned() })
    }
}

fn entrances(pid: u32) -> Result<[(CloneFlags, File); 3]> {
    let open = |flag, name: &str| -> Result<_> {
        let path = format!("/proc/{pid}/ns/{name}");
        let file = File::open(&path)
            .map_err(|error| Error::unavailable(format!("could not open {path}")).because(error))?;
        Ok((flag, file))
    };
    // The mounts last: after them /proc is another.
    Ok([
        open(CloneFlags::CLONE_NEWNET, "net")?,
        open(CloneFlags::CLONE_NEWPID, "pid")?,
        open(CloneFlags::CLONE_NEWNS, "mnt")?,
    ])
}

fn enter(entrances: &[(CloneFlags, File)]) -> nix::Result<()> {
    entrances.iter().try_for_each(|(flag, file)| setns(file, *flag))
}

/// Starts a program from a thread that has changed its namespaces: the child inherits them, and the
/// thread takes them with it when it ends.
fn spawn_from_thread(
    name: &str,
    mut command: Command,
    change: impl FnOnce() -> nix::Result<()> + Send + 'static,
) -> Result<Child> {
    let failed = |error: std::io::Error| {
        Error::unavailable(format!("could not start {name}")).because(error)
    };
    let thread = std::thread::Builder::new().name("rig-spawn".to_owned()).spawn(move || {
        // A thread that shares its root directory with others may not change its mounts.
        unshare(CloneFlags::CLONE_FS)?;
        change()?;
        command.spawn()
    });
    match thread.map_err(failed)?.join() {
        Ok(child) => child.map_err(failed),
        Err(_) => Err(Error::unavailable(format!("could not start {name}: the thread panicked"))),
    }
}

fn finish(child: Child, program: &str, arguments: &[&str]) -> Result<String> {
    let what = format!("{program} {}", arguments.join(" "));
    let output = child.wait_with_output().map_err(|error| {
        Error::unavailable(format!("could not read what '{what}' says")).because(error)
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::unavailable(format!(
            "'{what}' failed ({}): {}",
            output.status,
            said.trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_line_is_read() {
        let line = "/dev/loop3 /tmp/a\\040b ext4 rw,relatime 0 0";
        let mounted = Mounted::parse(line).unwrap();
        assert_eq!(mounted.source, "/dev/loop3");
        assert_eq!(mounted.target, Path::new("/tmp/a b"));
        assert_eq!(mounted.kind, "ext4");
        assert_eq!(Mounted::parse("short line"), None);
    }
}
