//! Simulated hosts on a bridge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stead_model::{Error, Result};
use tokio::time::Instant;

use crate::loops;
use crate::namespace::Namespace;

/// The interface of every host.
pub const INTERFACE: &str = "eth0";

/// The bridge inside the switch.
const BRIDGE: &str = "br0";

/// How long the kernel may take to let a dead host's mounts and loop devices go.
const GONE: Duration = Duration::from_secs(20);

/// A switch that hosts are plugged into: a bridge in a network of its own, so that the machine's own
/// network has neither its addresses nor its names.
#[derive(Debug)]
pub struct Network {
    switch: Arc<Namespace>,
}

impl Network {
    /// A network without hosts: 10.77.0.0/24 and fd77::/64.
    pub fn create() -> Result<Self> {
        let switch = Namespace::create("switch")?;
        // Without snooping, nothing that is announced waits for a multicast querier to come.
        let bridge = ["type", "bridge", "forward_delay", "0", "mcast_snooping", "0"];
        switch.run_in_network("ip", &[&["link", "add", BRIDGE][..], &bridge].concat())?;
        switch.run_in_network("ip", &["link", "set", BRIDGE, "up"])?;
        Ok(Self { switch: Arc::new(switch) })
    }

    /// Plugs a new host in. Its number is the last part of its addresses.
    pub fn host(&self, name: &str, number: u8) -> Result<Host> {
        let namespace = Namespace::create(name)?;
        let port = format!("port-{name}");
        let pid = namespace.pid().to_string();
        let pair = ["type", "veth", "peer", "name", INTERFACE, "netns", &pid];
        self.switch.run_in_network("ip", &[&["link", "add", &port][..], &pair].concat())?;
        self.switch.run_in_network("ip", &["link", "set", &port, "master", BRIDGE, "up"])?;
        let host = Host { namespace, switch: self.switch.clone(), port, number };
        let (v4, v6) = (format!("{}/24", host.v4()), format!("{}/64", host.v6()));
        host.run_in_network("ip", &["address", "add", &v4, "dev", INTERFACE])?;
        host.run_in_network("ip", &["address", "add", &v6, "dev", INTERFACE, "nodad"])?;
        host.run_in_network("ip", &["link", "set", INTERFACE, "up"])?;
        Ok(host)
    }
}

/// A host: everything that runs in it, its files' mounts and its network.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    switch: Arc<Namespace>,
    port: String,
    number: u8,
}

impl Deref for Host {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

impl Host {
    /// Its own IPv4 address.
    pub fn v4(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 77, 0, self.number))
    }

    /// Its own IPv6 address.
    pub fn v6(&self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(self.number)))
    }

    /// Pulls its cable or plugs it in again.
    pub fn plug(&self, plugged: bool) -> Result<()> {
        let state = if plugged { "up" } else { "down" };
        self.switch.run_in_network("ip", &["link", "set", &self.port, state]).map(drop)
    }

    /// Cuts its power, with its disks in `disks`: its cable is dead, its file systems stop between
    /// two writes, its processes are gone. Returns when nothing of it is left that could still
    /// write; what of its loop devices `others` have mounted stays.
    pub async fn power_off(&self, disks: &Path, others: &[&Host]) -> Result<()> {
        self.plug(false)?;
        let mounted_by = |host: &Host, device: &Path| {
            host.mounts().iter().any(|m| Path::new(&m.source) == device)
        };
        let left = loops::below(disks)?;
        let left = left.into_iter().filter(|l| !others.iter().any(|o| mounted_by(o, &l.device)));
        let left: Vec<_> = left.collect();
        for mounted in self.mounts() {
            if left.iter().any(|found| Path::new(&mounted.source) == found.device) {
                loops::cut(&self.path(&mounted.target))?;
            }
        }
        self.kill();
        let deadline = Instant::now() + GONE;
        loop {
            let attached = loops::below(disks)?;
            let still: Vec<_> = left.iter().filter(|found| attached.contains(found)).collect();
            if still.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::unavailable(format!(
                    "{} does not go away after {}'s power was cut",
                    still[0].device.display(),
                    self.name()
                )));
            }
            for found in still {
                loops::detach(found)?;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
