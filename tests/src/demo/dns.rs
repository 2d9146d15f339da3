//! One question to one DNS server: as often as the client connects, and never from a cache.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use stead_model::{Error, Result};

/// The longest answer over UDP without extensions.
const BYTES_MAX: usize = 512;

/// The IPv4 addresses of a name.
pub(super) fn resolve(server: SocketAddr, name: &str, patience: Duration) -> Result<Vec<Ipv4Addr>> {
    let failed = || Error::unavailable(format!("{server} did not answer who {name} is"));
    let name = Name::from_utf8(name)
        .map_err(|error| Error::invalid(format!("'{name}' is no DNS name")).because(error))?;
    let mut question = Message::query();
    question.add_query(Query::query(name, RecordType::A));
    let bytes = question.to_vec().map_err(|error| failed().because(error))?;
    let exchange = || -> std::io::Result<Vec<u8>> {
        let any = IpAddr::from([0, 0, 0, 0]);
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(patience))?;
        socket.send(&bytes)?;
        let mut answer = vec![0; BYTES_MAX];
        let length = socket.recv(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    };
    let answer = exchange().map_err(|error| failed().because(error))?;
    let answer = Message::from_vec(&answer).map_err(|error| failed().because(error))?;
    let addresses = answer.answers.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(address.0),
        _ => None,
    });
    Ok(addresses.collect())
}
