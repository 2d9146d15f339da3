//! The kernel's side of an address: exact, marked as ours, and gone when the lease is.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::Handle;
use stead_model::address::Family;
use stead_model::record::AddressPool;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::links::{Configured, Link, Snapshot};

/// The mark on our addresses (`IFA_PROTO`, `ip address show proto 0x5d`). Values below 4 are the
/// kernel's own (`linux/if_addr.h`); this one is not among those that routing daemons use.
pub const ADDRESS_TAG: u8 = 0x5d;

/// How much later than asked the kernel may take an address away: IPv6 checks lifetimes at whole
/// seconds with a play of a quarter (`ADDRCONF_TIMER_FUZZ`), and the request itself takes a moment.
const KERNEL_LATENESS: Duration = Duration::from_millis(300);

/// How old a listing may be that only guides a decision which the kernel then checks.
const LISTING_AGE_MAX: Duration = Duration::from_millis(500);

/// How long one answer of the kernel is waited for; it takes microseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How long the kernel may keep an address, in its seconds, so that it is gone when `remaining` of
/// the lease is; nothing where that is too short for the kernel's clock.
pub fn lifetime(remaining: Duration) -> Option<u32> {
    let seconds = remaining.checked_sub(KERNEL_LATENESS)?.as_secs();
    u32::try_from(seconds).ok().filter(|seconds| *seconds >= 1)
}

/// An address that is up, and the link that carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The address.
    pub address: IpAddr,
    /// The link.
    pub link: Link,
}

/// A listing and when it was begun.
type Listing = (Instant, Arc<Snapshot>);

/// Addresses and links of the network namespace in which it was opened; needs `CAP_NET_ADMIN`.
#[derive(Clone)]
pub struct Kernel {
    handle: Handle,
    listing: Arc<Mutex<Option<Listing>>>,
    tag_seen: Arc<AtomicBool>,
}

impl Kernel {
    /// Opens a netlink socket in the network namespace of the calling thread; needs a runtime.
    pub fn open() -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|source| Error::Io { what: "open a netlink socket".to_owned(), source })?;
        tokio::spawn(connection);
        Ok(Self { handle, listing: Arc::default(), tag_seen: Arc::default() })
    }

    /// The addresses that carry our mark.
    pub async fn tagged(&self) -> Result<Vec<Configured>> {
        let snapshot = self.list().await?;
        Ok(snapshot.addresses.iter().filter(|it| it.ours).cloned().collect())
    }

    /// Chooses the link for an address: the one the pool names, or the one in its network.
    pub async fn link_for(&self, address: IpAddr, pool: Option<&AddressPool>) -> Result<Link> {
        let interface = pool.and_then(|pool| pool.interface.as_deref());
        let known = self.recent().await?;
        match known.link_for(address, interface) {
            Ok(link) => Ok(link),
            // It may have come up since.
            Err(_) => self.list().await?.link_for(address, interface),
        }
    }

    /// Puts the address on the link for so many seconds, or extends its life there. One that
    /// somebody else configured is an error and stays as it is.
    pub async fn carry(&self, address: IpAddr, link: &Link, seconds: u32) -> Result<()> {
        let mut known = self.recent().await?;
        for last in [false, true] {
            let mut there = known.addresses.iter().filter(|it| it.address == address);
            if let Some(foreign) = there.clone().find(|it| !it.ours) {
                return Err(Error::Foreign { address, link: foreign.link });
            }
            let ours = there.clone().any(|it| it.link == link.index);
            if let Some(astray) = there.find(|it| it.link != link.index) {
                self.delete(astray).await?;
            }
            let preferred = if known.has_other(address, link.index) { 0 } else { seconds };
            let message = message(address, link.index, seconds, preferred);
            let mut request = self.handle.address().add(link.index, address, bits(address));
            *request.message_mut() = message;
            let request = if ours { request.replace() } else { request };
            let adding = format!("add {address} to interface '{}'", link.name);
            match timely(&adding, request.execute()).await? {
                Ok(()) => return self.prove_tag(address, link).await,
                // The listing was out of date: look again, once.
                Err(error) if is(&error, libc::EEXIST) && !last => known = self.list().await?,
                Err(source) => return Err(Error::Netlink { what: adding, source }),
            }
        }
        Err(Error::Foreign { address, link: link.index })
    }

    /// Takes these addresses away where they are there and ours; says how many were.
    pub async fn remove(&self, addresses: &[IpAddr]) -> Result<usize> {
        let snapshot = self.list().await?;
        let ours =
            snapshot.addresses.iter().filter(|it| it.ours && addresses.contains(&it.address));
        let mut removed = 0;
        let mut failure = None;
        for address in ours {
            // One that cannot be removed must not keep the others.
            match self.delete(address).await {
                Ok(()) => removed += 1,
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(removed), Err)
    }

    /// Before the first address counts as up, it has to be found again by its mark.
    async fn prove_tag(&self, address: IpAddr, link: &Link) -> Result<()> {
        if self.tag_seen.load(Ordering::Relaxed) {
            return Ok(());
        }
        let snapshot = self.list().await?;
        let mut there =
            snapshot.addresses.iter().filter(|it| it.address == address && it.link == link.index);
        if let Some(untagged) = there.find(|it| !it.ours) {
            self.delete(untagged).await?;
            return Err(Error::NoAddressTag);
        }
        self.tag_seen.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn delete(&self, it: &Configured) -> Result<()> {
        let message = message(it.address, it.link, 0, 0);
        let removing = format!("remove {}", it.address);
        match timely(&removing, self.handle.address().del(message).execute()).await? {
            Err(error) if is(&error, libc::EADDRNOTAVAIL) || is(&error, libc::ENODEV) => Ok(()),
            Err(source) => Err(Error::Netlink { what: removing, source }),
            Ok(()) => Ok(()),
        }
    }

    /// A listing that may be a little old: many members move at once, and one listing does for all.
    async fn recent(&self) -> Result<Arc<Snapshot>> {
        let mut listing = self.listing.lock().await;
        match &*listing {
            Some((at, known)) if at.elapsed() < LISTING_AGE_MAX => Ok(Arc::clone(known)),
            _ => self.list_into(&mut listing).await,
        }
    }

    /// The links and addresses as they are now.
    pub async fn list(&self) -> Result<Arc<Snapshot>> {
        self.list_into(&mut *self.listing.lock().await).await
    }

    /// A netlink socket dumps one thing at a time and refuses a second dump beside it with EBUSY: so
    /// whoever lists holds the lock.
    async fn list_into(&self, listing: &mut Option<Listing>) -> Result<Arc<Snapshot>> {
        let at = Instant::now();
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source| Error::Netlink { what, source }
        };
        let what = "list links";
        let links = self.handle.link().get().execute().try_collect();
        let links: Vec<LinkMessage> = timely(what, links).await?.map_err(failed(what))?;
        let what = "list addresses";
        let addresses = self.handle.address().get().execute().try_collect();
        let addresses: Vec<AddressMessage> =
            timely(what, addresses).await?.map_err(failed(what))?;
        let snapshot = Arc::new(Snapshot {
            links: links.iter().filter_map(link).collect(),
            addresses: addresses.iter().filter_map(configured).collect(),
        });
        *listing = Some((at, Arc::clone(&snapshot)));
        Ok(snapshot)
    }
}

/// Gives the kernel a moment and no more: whoever waits here holds locks that fencing needs too.
async fn timely<T>(what: &str, work: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(ANSWER_LIMIT, work).await.map_err(|_| {
        let source = std::io::Error::new(std::io::ErrorKind::TimedOut, "the kernel did not answer");
        Error::Io { what: what.to_owned(), source }
    })
}

/// The length of a prefix that holds this address alone.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn message(address: IpAddr, link: u32, seconds: u32, preferred: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = match Family::of(address) {
        Family::V4 => netlink_packet_route::AddressFamily::Inet,
        Family::V6 => netlink_packet_route::AddressFamily::Inet6,
    };
    message.header.prefix_len = bits(address);
    message.header.index = link;
    message.attributes.push(AddressAttribute::Address(address));
    message.attributes.push(AddressAttribute::Local(address));
    if seconds > 0 {
        let mut life = CacheInfo::default();
        life.ifa_valid = seconds;
        life.ifa_preferred = preferred;
        // The store says whose the address is, not duplicate address detection, which would also
        // keep it unusable for more than a second.
        let flags = AddressFlags::Noprefixroute | AddressFlags::Nodad;
        message.attributes.push(AddressAttribute::CacheInfo(life));
        message.attributes.push(AddressAttribute::Flags(flags));
        let tag = AddressProtocol::Other(ADDRESS_TAG);
        message.attributes.push(AddressAttribute::Protocol(tag));
    }
    message
}

fn is(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno)
}

fn link(message: &LinkMessage) -> Option<Link> {
    let mut found = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => found.name.clone_from(name),
            LinkAttribute::Address(mac) => found.mac = mac.as_slice().try_into().ok(),
            _ => {}
        }
    }
    // A loopback's hardware address is all zeros: nobody can be told of it.
    found.mac = found.mac.filter(|mac| *mac != [0; 6]);
    (!found.name.is_empty()).then_some(found)
}

fn configured(message: &AddressMessage) -> Option<Configured> {
    let (mut local, mut address, mut ours, mut deprecated, mut valid) =
        (None, None, false, false, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(it) => local = Some(*it),
            AddressAttribute::Address(it) => address = Some(*it),
            AddressAttribute::Protocol(tag) => ours = u8::from(*tag) == ADDRESS_TAG,
            AddressAttribute::Flags(flags) => {
                deprecated = flags.contains(AddressFlags::Deprecated);
            }
            AddressAttribute::CacheInfo(life) => valid = Some(life.ifa_valid),
            _ => {}
        }
    }
    // On a point-to-point link the two differ, and it is the local one that is ours to speak for.
    let address = local.or(address)?;
    let prefix = message.header.prefix_len;
    let seconds = valid.filter(|valid| *valid != u32::MAX);
    Some(Configured {
        address,
        prefix,
        link: message.header.index,
        ours: ours && prefix == bits(address),
        deprecated,
        seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_kernel_that_does_not_answer_is_not_waited_for() {
        let error = timely("list links", std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(stead_model::Error::from(error).kind(), stead_model::Kind::Unavailable);
    }
}
