//! A network of its own for each driver, so that neither addresses nor ports meet.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// What happens in it: an interface with a subnet and something at the other end of the cable.
const SETUP: &str = "ip link set lo up \
    && ip link add eth0 type veth peer name far && ip link set eth0 up && ip link set far up \
    && ip address add 10.91.0.1/16 dev eth0 && echo ready && read _";

/// The address of a driver's host.
pub(crate) const ADDRESS: &str = "10.91.0.1";

/// A network namespace: there until it is dropped or this program ends, whatever ends in it.
#[derive(Debug)]
pub(crate) struct Network {
    keeper: Child,
}

impl Network {
    /// A new one.
    pub(crate) fn create() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "/bin/sh", "-c", SETUP]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = match command.spawn() {
            Ok(keeper) => keeper,
            Err(error) => panic!("unshare (Debian package util-linux) could not be run: {error}"),
        };
        let mut line = String::new();
        if let Some(stdout) = keeper.stdout.take() {
            // What could not be read is not "ready".
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        assert_eq!(line.trim(), "ready", "no network namespace could be set up");
        Self { keeper }
    }

    /// The command that runs a program in it; the program dies with the thread that started it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]);
        command.arg(format!("--net=/proc/{}/ns/net", self.keeper.id())).arg("--");
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is reaped.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
