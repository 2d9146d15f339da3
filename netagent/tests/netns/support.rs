//! Hosts as network namespaces, for tests as root.

use std::fs::File;
use std::future::Future;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Whether the test has to be left out; says so.
pub(crate) fn not_root(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return false;
    }
    eprintln!("LEFT OUT: {test} needs root, to make network namespaces");
    true
}

/// Runs `ip` and expects it to succeed.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
    text
}

/// Two hosts on one link: `a` is 10.9.0.1 and fd09::1, `b` is 10.9.0.2 and fd09::2, on `eth0`.
pub(crate) struct Pair {
    pub(crate) a: String,
    pub(crate) b: String,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |side: &str| format!("stead-{}-{number}-{side}", std::process::id());
        let pair = Self { a: name("a"), b: name("b") };
        ip(&format!("netns add {}", pair.a));
        ip(&format!("netns add {}", pair.b));
        let (a, b) = (&pair.a, &pair.b);
        ip(&format!("link add eth0 netns {a} type veth peer name eth0 netns {b}"));
        for (host, number) in [(a, 1), (b, 2)] {
            ip(&format!("-n {host} link set lo up"));
            ip(&format!("-n {host} link set eth0 up"));
            ip(&format!("-n {host} addr add 10.9.0.{number}/24 dev eth0"));
            ip(&format!("-n {host} addr add fd09::{number}/64 dev eth0 nodad"));
        }
        pair
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for host in [&self.a, &self.b] {
            let _ = Command::new("ip").args(["netns", "del", host]).output();
        }
    }
}

/// Runs a future on a runtime whose sockets are all of this host.
pub(crate) fn on<T: Send + 'static, F: Future<Output = T>>(
    host: &str,
    work: impl FnOnce() -> F + Send + 'static,
) -> T {
    let path = format!("/run/netns/{host}");
    let run = move || {
        let namespace = File::open(path).unwrap();
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work())
    };
    match std::thread::spawn(run).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Whether the host has this address.
pub(crate) fn has(host: &str, address: &str) -> bool {
    let address: IpAddr = address.parse().unwrap();
    let text = ip(&format!("-n {host} -o addr show"));
    text.lines().any(|line| line.contains(&format!(" {address}/")))
}

/// Waits until it is so, and says how long that took.
pub(crate) async fn eventually(what: &str, within: Duration, so: impl Fn() -> bool) -> Duration {
    let began = tokio::time::Instant::now();
    while !so() {
        assert!(began.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}
