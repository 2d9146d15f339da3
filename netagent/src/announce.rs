//! Announcements: the neighbours of a link learn at once that an address has moved.

pub mod frame;
pub(crate) mod packet;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use frame::{ALL_NODES, ArpKind, BROADCAST};
use packet::{ETHERTYPE_ARP, ETHERTYPE_IPV6, PacketSocket};
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, Result};
use crate::jitter;
use crate::kernel::Carried;
use crate::lease::LeaseView;

/// When an address is announced, in milliseconds after it came up: the first may be lost, and a
/// switch may still be learning where the port is.
pub const SCHEDULE_MS: [u64; 5] = [0, 100, 300, 700, 1500];

/// How often an address is announced from then on: a fifth of the 300 s after which switches forget.
pub const REFRESH: Duration = Duration::from_secs(60);

/// What sends announcements; nothing leaves it while the lease is over.
#[derive(Clone)]
pub struct Announcer {
    socket: Arc<PacketSocket>,
}

impl Announcer {
    /// Opens its socket in the network namespace of the calling thread; needs `CAP_NET_RAW`.
    pub fn open() -> Result<Self> {
        let socket = PacketSocket::open().map_err(|source| Error::Io {
            what: "open a packet socket for announcements (CAP_NET_RAW is needed)".to_owned(),
            source,
        })?;
        Ok(Self { socket: Arc::new(socket) })
    }

    /// Announces one address once.
    pub fn announce(&self, carried: &Carried) -> io::Result<()> {
        // Links without Ethernet addresses have no neighbours to tell.
        let Some(mac) = carried.link.mac else { return Ok(()) };
        let link = carried.link.index;
        match carried.address {
            IpAddr::V4(address) => {
                for kind in [ArpKind::Request, ArpKind::Reply] {
                    let frame = frame::arp(kind, mac, address);
                    self.socket.send(link, ETHERTYPE_ARP, BROADCAST, &frame)?;
                }
            }
            IpAddr::V6(address) => {
                let packet = frame::neighbour_advertisement(mac, address);
                self.socket.send(link, ETHERTYPE_IPV6, ALL_NODES, &packet)?;
            }
        }
        metrics::counter!("stead_announcements_total").increment(1);
        Ok(())
    }

    /// Announces the addresses now, then on schedule, until the handle is dropped. While the lease
    /// is over it is silent: the last to announce wins, and that must never be a former holder.
    pub(crate) fn start(&self, carried: Vec<Carried>, lease: LeaseView) -> AbortOnDropHandle<()> {
        self.announce_all(&carried, &lease);
        let this = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            for pair in SCHEDULE_MS.windows(2) {
                tokio::time::sleep(Duration::from_millis(pair[1] - pair[0])).await;
                this.announce_all(&carried, &lease);
            }
            loop {
                tokio::time::sleep(jitter::between(REFRESH, 0.8, 1.2)).await;
                this.announce_all(&carried, &lease);
            }
        }))
    }

    fn announce_all(&self, carried: &[Carried], lease: &LeaseView) {
        for one in carried {
            if lease.remaining().is_none() {
                return;
            }
            if let Err(error) = self.announce(one) {
                metrics::counter!("stead_announcement_failures_total").increment(1);
                tracing::warn!(address = %one.address, interface = one.link.name, %error,
                    "could not announce an address");
            }
        }
    }
}
