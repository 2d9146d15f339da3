//! Which member a volume belongs to, as read from what an orchestrator says when it creates it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::address::{Family, parse_subnet};
use crate::name::{ClusterName, DomainName, MemberKey, MemberName, PoolName, Role, ServiceName};
use crate::orchestrator::Hint;
use crate::record::Member;
use crate::{Error, Result};

/// The prefix of our own parameters and context keys.
pub const PREFIX: &str = "stead.dev/";

/// The prefix of what Kubernetes' external provisioner adds with `--extra-create-metadata`.
const KUBERNETES_PREFIX: &str = "csi.storage.k8s.io/";

/// Our parameters, with what each is; anything else below [`PREFIX`] is refused.
pub const PARAMETERS: [(&str, &str); 9] = [
    ("cluster", "the cluster; on Kubernetes the claim's namespace unless given"),
    ("service", "the service that the member belongs to"),
    ("member", "the member, such as mongo-0"),
    ("role", "what the volume is to the member: data (default), journal, ..."),
    ("static-ip", "auto, or addresses: at most one IPv4 and one IPv6, joined by a comma"),
    ("subnet", "the subnets that 'auto' takes from, joined by commas; kept as the pool"),
    ("pool", "the address pool's name (default: default)"),
    ("interface", "the interface that carries the address, by name or MAC address"),
    ("port", "the port that SRV answers name"),
];

/// The default zone below which clusters have theirs; `.internal` is reserved for private use
/// (ICANN resolution 2024.07.29.06).
pub const ZONE_DEFAULT: &str = "stead.internal";

/// What static addresses are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StaticIp {
    /// None: the member goes by its node's address.
    None,
    /// One free address of each family that the pool has.
    Auto,
    /// These.
    Exactly(Vec<IpAddr>),
}

/// The identity that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The member.
    pub member: MemberKey,
    /// Its service.
    pub service: ServiceName,
    /// The role of the volume.
    pub role: Role,
    /// Its static addresses.
    pub static_ip: StaticIp,
    /// The pool that they come from.
    pub pool: PoolName,
    /// The subnets of that pool, where the request fixes them.
    pub subnets: Vec<IpNet>,
    /// The interface that carries the addresses.
    pub interface: Option<String>,
    /// The port of the service.
    pub port: Option<u16>,
}

/// Parameters sorted by whose they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Ours, without the prefix.
    ours: BTreeMap<String, String>,
    /// Those of Kubernetes' provisioner, without the prefix.
    kubernetes: BTreeMap<String, String>,
    /// The rest: the back end's.
    pub backend: BTreeMap<String, String>,
}

impl Sorted {
    /// Sorts them; one below our prefix that we do not know is an error which lists those we do.
    pub fn new(parameters: &BTreeMap<String, String>) -> Result<Self> {
        let mut sorted = Self::default();
        for (key, value) in parameters {
            let (map, key) = if let Some(key) = key.strip_prefix(PREFIX) {
                if !PARAMETERS.iter().any(|(known, _)| *known == key) {
                    let known: Vec<_> = PARAMETERS.iter().map(|(known, _)| *known).collect();
                    return Err(Error::invalid(format!(
                        "unknown parameter '{PREFIX}{key}': below {PREFIX} there are {}",
                        known.join(", ")
                    )));
                }
                (&mut sorted.ours, key)
            } else if let Some(key) = key.strip_prefix(KUBERNETES_PREFIX) {
                (&mut sorted.kubernetes, key)
            } else {
                (&mut sorted.backend, key.as_str())
            };
            map.insert(key.to_owned(), value.trim().to_owned());
        }
        Ok(sorted)
    }

    /// The identity that is asked for, or nothing for a plain volume.
    ///
    /// `name` is the volume's name. Hints count only where our own parameters leave a gap, and only
    /// where the request has at least one of them: a claim in a class without any stays plain.
    pub fn identity(&self, hint: Hint, name: &str) -> Result<Option<Request>> {
        if self.ours.is_empty() {
            return Ok(None);
        }
        let hinted = self.hinted(hint, name);
        let get = |key: &str| self.ours.get(key).or_else(|| hinted.get(key));
        let require = |key: &str| {
            get(key).ok_or_else(|| {
                let untold = match hint {
                    Hint::Claim if key == "member" => ", and the claim's name does not tell it",
                    Hint::PerAlloc if key == "member" => ", and the volume's name does not tell it",
                    _ => "",
                };
                Error::invalid(format!("parameter '{PREFIX}{key}' is missing{untold}: give it"))
            })
        };
        let member: MemberName = require("member")?.parse()?;
        let service = match get("service") {
            Some(service) => service.parse()?,
            None => service_of(&member)?,
        };
        let request = Request {
            member: MemberKey { cluster: require("cluster")?.parse()?, member },
            service,
            role: get("role").map_or_else(|| Ok(Role::primary()), |role| role.parse())?,
            static_ip: get("static-ip").map_or(Ok(StaticIp::None), |text| static_ip(text))?,
            pool: get("pool").map_or("default", String::as_str).parse()?,
            subnets: get("subnet").map_or(Ok(Vec::new()), |text| subnets(text))?,
            interface: get("interface").cloned(),
            port: get("port").map(|text| port(text)).transpose()?,
        };
        request.check()?;
        Ok(Some(request))
    }

    fn hinted(&self, hint: Hint, name: &str) -> BTreeMap<String, String> {
        let mut hinted = BTreeMap::new();
        match hint {
            Hint::Parameters => {}
            Hint::Claim => {
                if let Some(namespace) = self.kubernetes.get("pvc/namespace") {
                    hinted.insert("cluster".to_owned(), namespace.clone());
                }
                if let Some(claim) = self.kubernetes.get("pvc/name") {
                    hinted.extend(of_claim(claim, self.ours.get("service")));
                }
            }
            Hint::PerAlloc => {
                if let Some((service, index)) = of_per_alloc(name) {
                    hinted.insert("member".to_owned(), format!("{service}-{index}"));
                    hinted.insert("service".to_owned(), service.to_owned());
                }
            }
        }
        hinted
    }
}

impl Request {
    fn check(&self) -> Result<()> {
        if self.member.member.as_str().len() > 63 - "-".len() {
            return Err(Error::invalid(
                "a member name of more than 62 bytes leaves no room in DNS",
            ));
        }
        if let StaticIp::Exactly(addresses) = &self.static_ip
            && !self.role.is_primary()
        {
            return Err(Error::invalid(format!(
                "role '{}' cannot have static-ip {}: only the primary volume (role data) carries addresses",
                self.role, addresses[0]
            )));
        }
        Ok(())
    }

    /// The families that `auto` allocates: those of the pool's subnets.
    pub fn families(subnets: &[IpNet]) -> Vec<Family> {
        let mut families: Vec<_> = subnets.iter().map(|s| Family::of(s.network())).collect();
        families.sort_unstable();
        families.dedup();
        families
    }

    /// The DNS name of the member in a zone.
    pub fn dns_name(&self, zone: &DomainName) -> Result<DomainName> {
        format!("{}.{zone}", self.member.member).parse()
    }
}

/// The zone of a cluster below a base.
pub fn zone_of(cluster: &ClusterName, base: &DomainName) -> Result<DomainName> {
    format!("{cluster}.{base}").parse()
}

/// The identity as it travels in `volume_context`: immutable, without secrets, far below 4 KiB.
pub fn context(member: &Member, role: &Role) -> BTreeMap<String, String> {
    let mut context = BTreeMap::from([
        (format!("{PREFIX}cluster"), member.id.cluster.to_string()),
        (format!("{PREFIX}service"), member.service.to_string()),
        (format!("{PREFIX}member"), member.id.member.to_string()),
        (format!("{PREFIX}role"), role.to_string()),
        (format!("{PREFIX}dns-name"), member.dns_name.to_string()),
    ]);
    if !member.addresses.is_empty() {
        let addresses: Vec<_> = member.addresses.iter().map(ToString::to_string).collect();
        context.insert(format!("{PREFIX}static-ip"), addresses.join(","));
    }
    context
}

/// `mongo` of `mongo-0`.
fn service_of(member: &MemberName) -> Result<ServiceName> {
    match member.as_str().rsplit_once('-') {
        Some((service, ordinal)) if ordinal.parse::<u32>().is_ok() => service.parse(),
        _ => Err(Error::invalid(format!(
            "'{member}' does not tell its service: give parameter '{PREFIX}service' too"
        ))),
    }
}

/// A StatefulSet names its claims `<template>-<set>-<ordinal>`. Where the service is not given, the
/// template is what stands before the first `-`.
fn of_claim(claim: &str, service: Option<&String>) -> Vec<(String, String)> {
    let Some((front, ordinal)) = claim.rsplit_once('-') else { return Vec::new() };
    if ordinal.parse::<u32>().is_err() {
        return Vec::new();
    }
    let split = match service {
        Some(service) => front
            .strip_suffix(service.as_str())
            .and_then(|template| Some((template.strip_suffix('-')?, service.as_str()))),
        None => front.split_once('-'),
    };
    let Some((template, service)) = split else { return Vec::new() };
    vec![
        ("member".to_owned(), format!("{service}-{ordinal}")),
        ("service".to_owned(), service.to_owned()),
        ("role".to_owned(), template.to_owned()),
    ]
}

/// `db` and `2` of `db[2]`.
fn of_per_alloc(name: &str) -> Option<(&str, u32)> {
    let (service, index) = name.strip_suffix(']')?.rsplit_once('[')?;
    Some((service, index.parse().ok()?))
}

fn static_ip(text: &str) -> Result<StaticIp> {
    if text.is_empty() || text == "none" {
        return Ok(StaticIp::None);
    }
    if text == "auto" {
        return Ok(StaticIp::Auto);
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    for part in text.split(',') {
        let address: IpAddr = part.trim().parse().map_err(|_| {
            Error::invalid(format!(
                "'{part}' is not an IP address: give auto, none, 10.0.0.5 or fd00::5"
            ))
        })?;
        if addresses.iter().any(|other| Family::of(*other) == Family::of(address)) {
            return Err(Error::invalid(format!(
                "static-ip '{text}' has two addresses of one family: one IPv4 and one IPv6 at most"
            )));
        }
        addresses.push(address);
    }
    Ok(StaticIp::Exactly(addresses))
}

fn subnets(text: &str) -> Result<Vec<IpNet>> {
    text.split(',').map(parse_subnet).collect()
}

fn port(text: &str) -> Result<u16> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Error::invalid(format!("port '{text}' is not a number from 1 to 65535"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(parameters: &[(&str, &str)]) -> Result<Sorted> {
        Sorted::new(&parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    fn identity(parameters: &[(&str, &str)], hint: Hint, name: &str) -> Result<Option<Request>> {
        sorted(parameters)?.identity(hint, name)
    }

    #[test]
    fn without_our_parameters_a_volume_is_plain() {
        let found = identity(
            &[("csi.storage.k8s.io/pvc/name", "data-mongo-0"), ("type", "gp3")],
            Hint::Claim,
            "pvc-1",
        );
        assert_eq!(found.unwrap(), None);
    }

    #[test]
    fn a_stateful_set_claim_names_template_set_and_ordinal() {
        let claim = [
            ("csi.storage.k8s.io/pvc/name", "journal-my-mongo-2"),
            ("csi.storage.k8s.io/pvc/namespace", "prod"),
            ("stead.dev/static-ip", "none"),
        ];
        let found = identity(&claim, Hint::Claim, "pvc-1").unwrap().unwrap();
        assert_eq!(found.member.to_string(), "prod/my-mongo-2");
        assert_eq!(found.service.as_str(), "my-mongo");
        assert_eq!(found.role.as_str(), "journal");
    }

    #[test]
    fn a_given_service_tells_a_template_with_a_dash_apart() {
        let claim = [
            ("csi.storage.k8s.io/pvc/name", "my-data-db-0"),
            ("csi.storage.k8s.io/pvc/namespace", "prod"),
            ("stead.dev/service", "db"),
        ];
        let found = identity(&claim, Hint::Claim, "pvc-1").unwrap().unwrap();
        assert_eq!(found.member.member.as_str(), "db-0");
        assert_eq!(found.role.as_str(), "my-data");
    }

    #[test]
    fn a_per_alloc_volume_names_service_and_index() {
        let found = identity(&[("stead.dev/cluster", "c")], Hint::PerAlloc, "db[3]");
        assert_eq!(found.unwrap().unwrap().member.to_string(), "c/db-3");
    }

    #[test]
    fn bad_input_is_refused_with_what_to_change() {
        let base = [("stead.dev/cluster", "c"), ("stead.dev/member", "m-0")];
        for (key, value, says) in [
            ("stead.dev/memberr", "x", "there are cluster, service, member"),
            ("stead.dev/static-ip", "10.0.0", "is not an IP address"),
            ("stead.dev/static-ip", "10.0.0.1,10.0.0.2", "two addresses of one family"),
            ("stead.dev/subnet", "10.0.0.1/24", "did you mean 10.0.0.0/24"),
            ("stead.dev/port", "0", "from 1 to 65535"),
            ("stead.dev/member", "M_0", "is not a DNS label"),
        ] {
            let mut parameters: Vec<_> = base.iter().filter(|(k, _)| *k != key).copied().collect();
            parameters.push((key, value));
            let error = identity(&parameters, Hint::Parameters, "v").unwrap_err();
            assert_eq!(error.kind(), crate::Kind::Invalid, "{key}");
            assert!(error.to_string().contains(says), "{key}: {error}");
        }
        let error = identity(&[("stead.dev/cluster", "c")], Hint::Parameters, "v").unwrap_err();
        assert!(error.to_string().contains("stead.dev/member"), "{error}");
    }
}
