//! Which link carries an address: a decision on a listing, apart from any I/O.

use std::net::IpAddr;

use ipnet::IpNet;
use stead_model::address::Family;

use crate::announce::frame::Mac;
use crate::error::{Error, Result};

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address, where it has one.
    pub mac: Option<Mac>,
    /// Whether it is up.
    pub up: bool,
}

/// An address as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// The address.
    pub address: IpAddr,
    /// The length of its prefix.
    pub prefix: u8,
    /// The number of its link.
    pub link: u32,
    /// Whether it carries our mark.
    pub ours: bool,
    /// Whether it is kept from being chosen as a source.
    pub deprecated: bool,
    /// How long it lives on; nothing where for ever.
    pub seconds: Option<u32>,
}

/// The links and addresses of a host at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The links.
    pub links: Vec<Link>,
    /// The addresses.
    pub addresses: Vec<Configured>,
}

impl Snapshot {
    /// The link for an address: the one with this name or Ethernet address, or else the one that
    /// has an address in the same network, the narrowest where several do.
    pub fn link_for(&self, address: IpAddr, interface: Option<&str>) -> Result<Link> {
        let link = match interface {
            Some(wanted) => self.named(wanted).ok_or_else(|| {
                let have: Vec<_> = self.links.iter().map(|link| link.name.as_str()).collect();
                let (wanted, have) = (wanted.to_owned(), have.join(", "));
                Error::NoSuchInterface { address, wanted, have }
            })?,
            None => self.around(address).ok_or(Error::NoInterface { address })?,
        };
        if !link.up {
            return Err(Error::InterfaceDown { address, name: link.name.clone() });
        }
        Ok(link.clone())
    }

    /// Whether the link has an address of the same family that connections can start from instead:
    /// then a member's address need not be taken by whoever does not ask for it.
    pub fn has_other(&self, address: IpAddr, link: u32) -> bool {
        self.addresses.iter().any(|it| {
            it.link == link
                && !it.ours
                && !it.deprecated
                && Family::of(it.address) == Family::of(address)
                && !is_link_local(it.address)
        })
    }

    fn named(&self, wanted: &str) -> Option<&Link> {
        let mac = parse_mac(wanted);
        self.links.iter().find(|link| link.name == wanted || (mac.is_some() && link.mac == mac))
    }

    fn around(&self, address: IpAddr) -> Option<&Link> {
        let nets =
            self.addresses.iter().filter(|it| !it.ours).filter(|it| {
                IpNet::new(it.address, it.prefix).is_ok_and(|net| net.contains(&address))
            });
        let links = nets.filter_map(|it| {
            let link = self.links.iter().find(|link| link.index == it.link && link.up)?;
            Some((it.prefix, link))
        });
        links.max_by_key(|(prefix, link)| (*prefix, std::cmp::Reverse(link.index))).map(|it| it.1)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Reads `02:00:00:00:00:01`, in either case.
fn parse_mac(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link { index, name: name.to_owned(), mac: Some([2, 0, 0, 0, 0, index as u8]), up: true }
    }

    fn at(address: &str, prefix: u8, link: u32) -> Configured {
        let address = address.parse().unwrap();
        Configured { address, prefix, link, ours: false, deprecated: false, seconds: None }
    }

    fn host() -> Snapshot {
        Snapshot {
            links: vec![link(1, "lo"), link(2, "eth0"), link(3, "eth1")],
            addresses: vec![
                at("10.0.0.1", 8, 2),
                at("10.1.0.1", 24, 3),
                at("fe80::1", 64, 3),
                Configured { ours: true, ..at("192.168.0.9", 32, 2) },
            ],
        }
    }

    #[test]
    fn the_narrowest_network_wins() {
        let link = |address: &str| host().link_for(address.parse().unwrap(), None);
        assert_eq!(link("10.1.0.7").unwrap().name, "eth1");
        assert_eq!(link("10.2.0.7").unwrap().name, "eth0");
        assert!(matches!(link("192.168.0.9"), Err(Error::NoInterface { .. })), "ours is no guide");
    }

    #[test]
    fn a_link_can_be_named_by_either_name() {
        let address = "10.1.0.7".parse().unwrap();
        assert_eq!(host().link_for(address, Some("eth0")).unwrap().index, 2);
        assert_eq!(host().link_for(address, Some("02:00:00:00:00:02")).unwrap().index, 2);
        let error = host().link_for(address, Some("eth9")).unwrap_err().to_string();
        assert!(error.contains("lo, eth0, eth1"), "{error}");
        let mut down = host();
        down.links[1].up = false;
        assert!(matches!(down.link_for(address, Some("eth0")), Err(Error::InterfaceDown { .. })));
    }

    #[test]
    fn a_link_local_address_is_no_source_instead() {
        assert!(host().has_other("10.1.0.7".parse().unwrap(), 3));
        assert!(!host().has_other("fd00::7".parse().unwrap(), 3));
        assert!(!host().has_other("10.1.0.7".parse().unwrap(), 1));
    }
}
