//! What a question is answered: a function of the names, apart from any I/O.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, NS, PTR, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use stead_model::name::DomainName;
use stead_model::record::DnsName;

use super::view::Names;

/// How long an answer may be remembered: a member moves within seconds.
pub(crate) const TTL_SECONDS: u32 = 5;

/// The zone that the server speaks for, with every cluster's below it.
#[derive(Debug, Clone)]
pub(crate) struct Zone {
    pub(crate) base: DomainName,
    /// Where the zone's name server can be reached: the addresses of `ns.BASE`.
    pub(crate) servers: Vec<IpAddr>,
}

/// An answer before it is put on the wire.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) code: ResponseCode,
    pub(crate) authoritative: bool,
    pub(crate) answers: Vec<Record>,
    /// The zone's SOA where there is no answer: it says for how long that may be remembered.
    pub(crate) authority: Vec<Record>,
    pub(crate) additionals: Vec<Record>,
}

impl Answer {
    pub(crate) fn refused() -> Self {
        Self { code: ResponseCode::Refused, ..Self::default() }
    }

    fn with(answers: Vec<Record>) -> Self {
        Self { authoritative: true, answers, ..Self::default() }
    }
}

impl Zone {
    /// Answers a question of class IN. `asked` is the name as it was written, `name` the same in
    /// lower case and without the trailing dot.
    pub(crate) fn answer(
        &self,
        names: &Names,
        asked: &Name,
        name: &str,
        kind: RecordType,
    ) -> Answer {
        if kind == RecordType::AXFR || kind == RecordType::IXFR {
            return Answer::refused();
        }
        let base = self.base.as_str();
        let inside = name == base || name.strip_suffix(base).is_some_and(|it| it.ends_with('.'));
        if !inside {
            return self.reverse(names, asked, kind);
        }
        if !names.loaded {
            return Answer { code: ResponseCode::ServFail, ..Answer::default() };
        }
        if name == base {
            return self.apex(names, asked, kind);
        }
        if name == self.server_name() && !self.servers.is_empty() {
            return self.or_nothing(names, addresses(asked, &self.servers, kind));
        }
        if let Some(member) = names.get(name) {
            return self.or_nothing(names, addresses(asked, &member.addresses, kind));
        }
        let members = names.service(name);
        if !members.is_empty() {
            return self.service(names, asked, &members, kind);
        }
        let mut answer = self.or_nothing(names, Vec::new());
        if !names.exists(name) {
            answer.code = ResponseCode::NXDomain;
        }
        answer
    }

    fn server_name(&self) -> String {
        format!("ns.{}", self.base)
    }

    fn apex(&self, names: &Names, asked: &Name, kind: RecordType) -> Answer {
        let mut answers = Vec::new();
        if matches!(kind, RecordType::SOA | RecordType::ANY) {
            answers.extend(self.soa(names));
        }
        if matches!(kind, RecordType::NS | RecordType::ANY)
            && let Some(server) = absolute(&self.server_name())
        {
            answers.push(record(asked, RData::NS(NS(server))));
        }
        let ns = answers.iter().any(|it| it.record_type() == RecordType::NS);
        let mut answer = self.or_nothing(names, answers);
        if ns && let Some(server) = absolute(&self.server_name()) {
            answer.additionals = addresses(&server, &self.servers, RecordType::ANY);
        }
        answer
    }

    fn service(
        &self,
        names: &Names,
        asked: &Name,
        members: &[&DnsName],
        kind: RecordType,
    ) -> Answer {
        if !matches!(kind, RecordType::SRV | RecordType::ANY) {
            return self.or_nothing(names, Vec::new());
        }
        let mut answers = Vec::new();
        let mut additionals = Vec::new();
        for member in members {
            // Without a port there is nothing that an SRV record could say.
            let (Some(port), Some(target)) = (member.port, absolute(member.name.as_str())) else {
                continue;
            };
            additionals.extend(addresses(&target, &member.addresses, RecordType::ANY));
            answers.push(record(asked, RData::SRV(SRV::new(0, 0, port, target))));
        }
        Answer { additionals, ..self.or_nothing(names, answers) }
    }

    /// Answers for the names of members' static addresses below `in-addr.arpa` and `ip6.arpa`, and
    /// for nobody else's.
    fn reverse(&self, names: &Names, asked: &Name, kind: RecordType) -> Answer {
        let net =
            asked.parse_arpa_name().ok().filter(|net| net.prefix_len() == net.max_prefix_len());
        let Some(pointed) = net.and_then(|net| names.of_address(net.addr())) else {
            return Answer::refused();
        };
        if !matches!(kind, RecordType::PTR | RecordType::ANY) {
            return self.or_nothing(names, Vec::new());
        }
        let targets = pointed.into_iter().filter_map(|name| absolute(name.as_str()));
        Answer::with(targets.map(|target| record(asked, RData::PTR(PTR(target)))).collect())
    }

    /// An answer, with the SOA in its place where there is none.
    fn or_nothing(&self, names: &Names, answers: Vec<Record>) -> Answer {
        let authority =
            if answers.is_empty() { self.soa(names).into_iter().collect() } else { Vec::new() };
        Answer { authority, ..Answer::with(answers) }
    }

    fn soa(&self, names: &Names) -> Option<Record> {
        let base = absolute(self.base.as_str())?;
        let server = absolute(&self.server_name())?;
        let person = absolute(&format!("hostmaster.{}", self.base))?;
        let (refresh, retry, expire) = (60, 10, 3600);
        let soa = SOA::new(server, person, names.serial, refresh, retry, expire, TTL_SECONDS);
        Some(record(&base, RData::SOA(soa)))
    }
}

fn addresses(owner: &Name, addresses: &[IpAddr], kind: RecordType) -> Vec<Record> {
    let wanted = |address: &&IpAddr| match kind {
        RecordType::ANY => true,
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        _ => false,
    };
    let data = |address: &IpAddr| match address {
        IpAddr::V4(address) => RData::A(A(*address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
    };
    addresses.iter().filter(wanted).map(|address| record(owner, data(address))).collect()
}

fn record(owner: &Name, data: RData) -> Record {
    Record::from_rdata(owner.clone(), TTL_SECONDS, data)
}

/// A name of ours on the wire; ours are checked, so this fails for none.
fn absolute(name: &str) -> Option<Name> {
    Name::from_ascii(format!("{name}.")).ok()
}

#[cfg(test)]
mod tests {
    use stead_model::name::Term;

    use super::super::view::View;
    use super::*;

    fn name(member: &str, port: Option<u16>, addresses: &[&str]) -> DnsName {
        DnsName {
            name: format!("{member}.prod.stead.internal").parse().unwrap(),
            zone: "prod.stead.internal".parse().unwrap(),
            service: "mongo".parse().unwrap(),
            port,
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
            term: Term(1),
        }
    }

    fn ask(asked: &str, kind: RecordType) -> Answer {
        let view = View::of(
            vec![
                name("mongo-0", Some(27017), &["10.0.0.1", "fd00::1"]),
                name("mongo-1", Some(27017), &["10.0.0.2"]),
                name("plain-0", None, &["192.168.0.1"]),
            ],
            &["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        );
        let zone = Zone {
            base: "stead.internal".parse().unwrap(),
            servers: vec!["10.0.0.53".parse().unwrap()],
        };
        let asked = absolute(asked).unwrap();
        let lower = asked.to_lowercase().to_string();
        let names = view.read();
        zone.answer(&names, &asked, lower.trim_end_matches('.'), kind)
    }

    fn data(answer: &Answer) -> Vec<String> {
        answer.answers.iter().map(|it| it.data.to_string()).collect()
    }

    #[test]
    fn a_member_answers_by_family_and_keeps_the_asker_s_spelling() {
        let answer = ask("Mongo-0.PROD.stead.internal", RecordType::A);
        assert_eq!(data(&answer), ["10.0.0.1"]);
        assert!(answer.authoritative && answer.authority.is_empty());
        assert_eq!(answer.answers[0].name.to_string(), "Mongo-0.PROD.stead.internal.");
        assert_eq!(answer.answers[0].ttl, TTL_SECONDS);
        assert_eq!(data(&ask("mongo-0.prod.stead.internal", RecordType::AAAA)), ["fd00::1"]);
    }

    #[test]
    fn nothing_of_this_kind_differs_from_nothing_at_all() {
        for (asked, code) in [
            ("mongo-1.prod.stead.internal", ResponseCode::NoError),
            ("prod.stead.internal", ResponseCode::NoError),
            ("_tcp.prod.stead.internal", ResponseCode::NoError),
            ("mongo-9.prod.stead.internal", ResponseCode::NXDomain),
            ("a.mongo-0.prod.stead.internal", ResponseCode::NXDomain),
            ("mongo-0.test.stead.internal", ResponseCode::NXDomain),
        ] {
            let answer = ask(asked, RecordType::AAAA);
            assert_eq!((answer.code, answer.answers.len()), (code, 0), "{asked}");
            assert!(answer.authoritative, "{asked}");
            assert_eq!(answer.authority[0].record_type(), RecordType::SOA, "{asked}");
            assert_eq!(answer.authority[0].name.to_string(), "stead.internal.");
        }
    }

    #[test]
    fn a_service_lists_its_members_with_their_addresses() {
        let answer = ask("_mongo._tcp.prod.stead.internal", RecordType::SRV);
        assert_eq!(
            data(&answer),
            ["0 0 27017 mongo-0.prod.stead.internal.", "0 0 27017 mongo-1.prod.stead.internal."]
        );
        assert_eq!(answer.additionals.len(), 3);
    }

    #[test]
    fn only_static_addresses_lead_back_to_a_name() {
        let v4 = ask("1.0.0.10.in-addr.arpa", RecordType::PTR);
        assert_eq!(data(&v4), ["mongo-0.prod.stead.internal."]);
        let nibbles = format!("1{}.0.0.d.f.ip6.arpa", ".0".repeat(27));
        assert_eq!(data(&ask(&nibbles, RecordType::PTR)), ["mongo-0.prod.stead.internal."]);
        for strange in ["1.0.168.192.in-addr.arpa", "9.0.0.10.in-addr.arpa", "0.0.10.in-addr.arpa"]
        {
            assert_eq!(ask(strange, RecordType::PTR), Answer::refused(), "{strange}");
        }
    }

    #[test]
    fn the_apex_names_its_server() {
        let answer = ask("stead.internal", RecordType::NS);
        assert_eq!(data(&answer), ["ns.stead.internal."]);
        assert_eq!(answer.additionals[0].data.to_string(), "10.0.0.53");
        assert_eq!(ask("stead.internal", RecordType::SOA).answers.len(), 1);
        assert_eq!(data(&ask("ns.stead.internal", RecordType::A)), ["10.0.0.53"]);
    }

    #[test]
    fn other_zones_are_refused() {
        for (asked, kind) in [
            ("example.com", RecordType::A),
            ("xstead.internal", RecordType::A),
            ("internal", RecordType::SOA),
            ("stead.internal", RecordType::AXFR),
        ] {
            assert_eq!(ask(asked, kind), Answer::refused(), "{asked}");
        }
    }

    #[test]
    fn before_the_store_was_read_nothing_is_denied() {
        let zone = Zone { base: "stead.internal".parse().unwrap(), servers: Vec::new() };
        let asked = absolute("mongo-0.prod.stead.internal").unwrap();
        let names = Names::default();
        let answer = zone.answer(&names, &asked, "mongo-0.prod.stead.internal", RecordType::A);
        assert_eq!(answer.code, ResponseCode::ServFail);
    }
}
