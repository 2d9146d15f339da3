//! What a host is asked where the command line does not say.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use stead_controller::pool::{Mark, TOPOLOGY_NODE, TOPOLOGY_POOL};
use stead_model::image::Layout;
use stead_model::name::NodeId;

use crate::failure::Failure;
use crate::option::{NodeIdentity, NodeName};

/// How long to wait before a pool is looked for again.
const RETRY: Duration = Duration::from_secs(1);

/// The name of this host.
pub(super) fn name(told: &NodeName) -> Result<NodeId, Failure> {
    if let Some(node) = &told.node_id {
        return Ok(node.clone());
    }
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().parse().map_err(|_| {
        Failure::usage("this host has no name that could be a node id: give one by --node-id")
    })
}

/// Where this host is: what was said, and which pool it reaches. The controller gives a volume only
/// to nodes that reach its pool.
///
/// A shared pool has its name from the controller, which may start after us: it is waited for.
pub(super) async fn topology(
    told: &NodeIdentity,
    node: &NodeId,
    pool_dir: &Path,
    pool_shared: bool,
) -> BTreeMap<String, String> {
    let mut topology: BTreeMap<String, String> = told.topology.iter().cloned().collect();
    let path = Layout::new(pool_dir).mark();
    loop {
        let read = fs::read(&path).ok();
        let mark = read.and_then(|text| serde_json::from_slice::<Mark>(&text).ok());
        let (key, value) = match mark {
            Some(mark) if mark.shared => (TOPOLOGY_POOL, mark.id),
            _ if pool_shared => {
                tracing::warn!(
                    path = %path.display(),
                    "there is no pool yet: mount it there, and start the controller, which makes it"
                );
                tokio::time::sleep(RETRY).await;
                continue;
            }
            _ => (TOPOLOGY_NODE, node.to_string()),
        };
        topology.insert(key.to_owned(), value);
        return topology;
    }
}

/// The addresses that members without a static one go by.
pub(super) fn addresses(told: &NodeIdentity) -> Vec<IpAddr> {
    if !told.node_address.is_empty() {
        return told.node_address.clone();
    }
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let routes6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let preferred = [default_link(&routes), default_link6(&routes6)];
    let found = pick(&preferred, &carried());
    if found.is_empty() {
        tracing::warn!("this host has no address: members without a static one get no DNS name");
    }
    found
}

/// Every address of a link that is up and leads beyond this host, with its link.
fn carried() -> Vec<(String, IpAddr)> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    all.filter(|link| {
        link.flags.contains(InterfaceFlags::IFF_UP)
            && !link.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    })
    .filter_map(|link| {
        let address = link.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let v6 = || address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
        Some((link.interface_name, v4.or_else(v6)?))
    })
    .collect()
}

/// One address of each family: that of the link with the default route, or else the first.
fn pick(preferred: &[Option<&str>; 2], carried: &[(String, IpAddr)]) -> Vec<IpAddr> {
    let global = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_loopback(),
    };
    let of_family = |v6: bool| {
        let fitting = |entry: &&(String, IpAddr)| entry.1.is_ipv6() == v6 && global(&entry.1);
        let link = preferred[usize::from(v6)];
        let on_link = carried.iter().filter(fitting).find(|(name, _)| Some(name.as_str()) == link);
        on_link.or_else(|| carried.iter().find(fitting)).map(|(_, address)| *address)
    };
    [false, true].into_iter().filter_map(of_family).collect()
}

/// The link of the default route in `/proc/net/route`: name, destination, ..., mask in column 8.
fn default_link(routes: &str) -> Option<&str> {
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let default = fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
        default.then(|| fields.first().copied()).flatten()
    })
}

/// The link of the default route in `/proc/net/ipv6_route`: destination, prefix length, ..., name.
/// The kernel keeps an entry on `lo` that refuses everything; it is no route.
fn default_link6(routes: &str) -> Option<&str> {
    routes.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let all = fields.first().is_some_and(|it| it.bytes().all(|b| b == b'0'));
        let link = fields.last().copied().filter(|link| *link != "lo");
        (all && fields.get(1) == Some(&"00")).then_some(link).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_of_the_default_route_is_found() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
                      br0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n\
                      eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n";
        assert_eq!(default_link(routes), Some("eth0"));
        assert_eq!(default_link("Iface\n"), None);
        let zero = "0".repeat(32);
        let routes = format!(
            "{zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n\
             {zero} 00 {zero} 00 {zero} 00000400 1 0 00000003 eth1\n"
        );
        assert_eq!(default_link6(&routes), Some("eth1"));
    }

    #[test]
    fn one_address_of_each_family_is_picked() {
        let carried: Vec<(String, IpAddr)> = [
            ("br0", "172.17.0.1"),
            ("eth0", "169.254.1.1"),
            ("eth0", "10.0.0.2"),
            ("eth0", "fe80::1"),
            ("br0", "fd00::1"),
        ]
        .map(|(link, address)| (link.to_owned(), address.parse().unwrap()))
        .into();
        let picked = |link| pick(&[link, None], &carried).iter().map(IpAddr::to_string).collect();
        let on_route: Vec<String> = picked(Some("eth0"));
        assert_eq!(on_route, ["10.0.0.2", "fd00::1"]);
        let first: Vec<String> = picked(None);
        assert_eq!(first, ["172.17.0.1", "fd00::1"]);
    }
}
