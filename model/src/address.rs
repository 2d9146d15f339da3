//! Which addresses a pool may give out: exact arithmetic on its subnets.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::name::MemberKey;
use crate::record::AddressPool;
use crate::{Error, Result};

/// Whether a family of addresses is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Parses `10.0.0.0/24` strictly: host bits set are a slip of the pen, not a smaller network.
pub fn parse_subnet(text: &str) -> Result<IpNet> {
    let subnet: IpNet = text.trim().parse().map_err(|_| {
        Error::invalid(format!("'{text}' is not a subnet: write it as 10.0.0.0/24 or fd00:1::/64"))
    })?;
    if subnet.trunc() != subnet {
        return Err(Error::invalid(format!(
            "'{text}' has host bits set: did you mean {}?",
            subnet.trunc()
        )));
    }
    Ok(subnet)
}

/// Whether a host may have this address of the subnet: not the network, broadcast or
/// Subnet-Router anycast address (RFC 4291 section 2.6.1), which /31 and /127 lack
/// (RFC 3021, RFC 6164).
fn is_host(subnet: &IpNet, address: IpAddr) -> bool {
    if !subnet.contains(&address) {
        return false;
    }
    match subnet {
        IpNet::V4(net) if net.prefix_len() >= 31 => true,
        IpNet::V4(net) => address != net.network() && address != net.broadcast(),
        IpNet::V6(net) if net.prefix_len() >= 127 => true,
        IpNet::V6(net) => address != net.network(),
    }
}

impl AddressPool {
    /// Whether the pool may give this address out, or why not.
    pub fn check(&self, address: IpAddr) -> Result<()> {
        if self.reserved.contains(&address) {
            return Err(Error::invalid(format!("{address} is reserved in pool '{}'", self.name)));
        }
        if self.subnets.iter().any(|subnet| is_host(subnet, address)) {
            return Ok(());
        }
        let subnets: Vec<_> = self.subnets.iter().map(ToString::to_string).collect();
        Err(Error::invalid(format!(
            "{address} is not a host address of pool '{}' ({})",
            self.name,
            subnets.join(", ")
        )))
    }

    /// The addresses of a family in the order in which to try them for this member, each once.
    ///
    /// The order begins at a place that depends on the member alone, so that members do not fight
    /// for the same one and a member made anew gets its former address where it is still free.
    pub fn candidates(&self, family: Family, owner: &MemberKey) -> impl Iterator<Item = IpAddr> {
        let subnets: Vec<IpNet> = self
            .subnets
            .iter()
            .copied()
            .filter(|subnet| Family::of(subnet.network()) == family)
            .collect();
        let seed = seed(owner);
        subnets
            .into_iter()
            .flat_map(move |subnet| around(subnet, seed))
            .filter(|a| self.check(*a).is_ok())
    }

    /// How many addresses it can give out in all, saturating.
    pub fn size(&self) -> u128 {
        let hosts = |subnet: &IpNet| {
            let all = 1u128.checked_shl(host_bits(subnet)).unwrap_or(u128::MAX);
            match subnet {
                IpNet::V4(net) if net.prefix_len() < 31 => all - 2,
                IpNet::V6(net) if net.prefix_len() < 127 => all - 1,
                _ => all,
            }
        };
        let all = self.subnets.iter().map(hosts).fold(0, u128::saturating_add);
        let reserved =
            self.reserved.iter().filter(|a| self.subnets.iter().any(|s| is_host(s, **a)));
        all - (reserved.count() as u128).min(all)
    }
}

fn host_bits(subnet: &IpNet) -> u32 {
    u32::from(subnet.max_prefix_len() - subnet.prefix_len())
}

/// Every address of the subnet, from the one that `seed` points at round to the one before it.
fn around(subnet: IpNet, seed: u128) -> Box<dyn Iterator<Item = IpAddr> + Send> {
    match subnet {
        IpNet::V4(net) => {
            let count = 1u64 << host_bits(&subnet);
            let start = (seed % u128::from(count)) as u64;
            let base = u64::from(u32::from(net.network()));
            Box::new((0..count).map(move |step| {
                let host = (start + step) % count;
                IpAddr::V4(((base + host) as u32).into())
            }))
        }
        IpNet::V6(net) => {
            // A /64 cannot be counted through; 2^32 places from the start on are plenty.
            let bits = host_bits(&subnet).min(32);
            let count = 1u128 << bits;
            let start = seed % count;
            let base = u128::from(net.network());
            Box::new((0..count).map(move |step| {
                let host = (start + step) % count;
                IpAddr::V6((base + host).into())
            }))
        }
    }
}

fn seed(owner: &MemberKey) -> u128 {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(owner.to_string().as_bytes());
    digest.iter().take(16).fold(0, |seed, byte| (seed << 8) | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn pool(subnets: &[&str]) -> AddressPool {
        AddressPool {
            cluster: "c".parse().unwrap(),
            name: "p".parse().unwrap(),
            subnets: subnets.iter().map(|s| parse_subnet(s).unwrap()).collect(),
            reserved: BTreeSet::new(),
            interface: None,
        }
    }

    #[test]
    fn a_slash_24_gives_254_and_a_slash_31_gives_2() {
        for (subnet, hosts) in [("10.0.0.0/24", 254), ("10.0.0.0/31", 2), ("10.0.0.7/32", 1)] {
            let pool = pool(&[subnet]);
            let owner = "c/m-0".parse().unwrap();
            let all: BTreeSet<_> = pool.candidates(Family::V4, &owner).collect();
            assert_eq!(all.len(), hosts, "{subnet}");
            assert_eq!(pool.size(), hosts as u128, "{subnet}");
        }
    }

    #[test]
    fn bad_subnets_are_refused_with_the_right_one() {
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0/24", "x/8"] {
            assert!(parse_subnet(bad).is_err(), "{bad}");
        }
        let error = parse_subnet("10.0.0.9/24").unwrap_err();
        assert!(error.to_string().contains("did you mean 10.0.0.0/24"), "{error}");
    }

    #[test]
    fn reserved_and_foreign_addresses_are_refused() {
        let mut pool = pool(&["10.0.0.0/30", "fd00::/64"]);
        pool.reserved.insert("10.0.0.1".parse().unwrap());
        for bad in ["10.0.0.0", "10.0.0.1", "10.0.0.3", "10.0.0.4", "fd00::", "fd00:0:0:1::1"] {
            assert!(pool.check(bad.parse().unwrap()).is_err(), "{bad}");
        }
        for good in ["10.0.0.2", "fd00::1", "fd00::ffff:ffff:ffff:ffff"] {
            assert!(pool.check(good.parse().unwrap()).is_ok(), "{good}");
        }
    }

    proptest::proptest! {
        /// Whatever the subnet: every candidate lies in it, is usable, and comes once.
        #[test]
        fn candidates_stay_inside(base: u32, prefix in 20u8..=32, member in "[a-z]{1,8}-[0-9]") {
            let subnet = ipnet::Ipv4Net::new(base.into(), prefix).unwrap().trunc();
            let pool = pool(&[&subnet.to_string()]);
            let owner = format!("c/{member}").parse().unwrap();
            let all: Vec<_> = pool.candidates(Family::V4, &owner).collect();
            let once: BTreeSet<_> = all.iter().collect();
            proptest::prop_assert_eq!(once.len(), all.len());
            proptest::prop_assert_eq!(all.len() as u128, pool.size());
            for address in all {
                proptest::prop_assert!(pool.check(address).is_ok());
            }
        }

        #[test]
        fn the_first_candidates_of_a_wide_v6_subnet_are_inside(hi: u64, member in "[a-z]{1,8}") {
            let net = ipnet::Ipv6Net::new((u128::from(hi) << 64).into(), 64).unwrap();
            let pool = pool(&[&net.to_string()]);
            let owner = format!("c/{member}").parse().unwrap();
            for address in pool.candidates(Family::V6, &owner).take(64) {
                proptest::prop_assert!(pool.check(address).is_ok());
            }
        }
    }
}
