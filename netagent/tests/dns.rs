//! The embedded DNS server over real sockets.
#![allow(clippy::unwrap_used)] // The functions beside the tests too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use stead_model::name::Term;
use stead_model::port::{DnsBackend, MemoryStore};
use stead_model::record::DnsName;
use stead_model::registry::Registry;
use stead_netagent::dns::{EmbeddedNames, NameServer, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(5);

fn question(name: &str, kind: RecordType, edns: bool) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if edns {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        message.edns = Some(edns);
    }
    message
}

async fn ask_udp(server: SocketAddr, message: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&message.to_vec().unwrap(), server).await.unwrap();
    let mut buffer = [0; 4096];
    let received = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await;
    Message::from_vec(&buffer[..received.unwrap().unwrap()]).unwrap()
}

async fn ask_tcp(server: SocketAddr, message: &Message) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let bytes = message.to_vec().unwrap();
    stream.write_u16(bytes.len() as u16).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn name(member: u32, address: &str, term: u64) -> DnsName {
    DnsName {
        name: format!("mongo-{member}.prod.stead.internal").parse().unwrap(),
        zone: "prod.stead.internal".parse().unwrap(),
        service: "mongo".parse().unwrap(),
        port: Some(27017),
        addresses: vec![address.parse().unwrap()],
        term: Term(term),
    }
}

struct Rig {
    store: Arc<MemoryStore>,
    names: EmbeddedNames,
    server: SocketAddr,
    cancel: CancellationToken,
}

async fn rig() -> Rig {
    let store = Arc::new(MemoryStore::new());
    let registry = Registry::new(Arc::clone(&store) as _);
    let config = ServerConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        base: "stead.internal".parse().unwrap(),
        servers: Vec::new(),
    };
    let server = NameServer::bind(config).await.unwrap();
    let address = server.addresses()[0];
    let cancel = CancellationToken::new();
    tokio::spawn(server.serve(registry.clone(), cancel.clone()));
    Rig { store, names: EmbeddedNames::new(registry), server: address, cancel }
}

impl Rig {
    async fn until(&self, what: &str, expected: &str) {
        let question = question(what, RecordType::A, false);
        let asking = async {
            loop {
                let answer = ask_udp(self.server, &question).await;
                if answer.answers.first().is_some_and(|it| it.data.to_string() == expected) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap();
    }
}

#[tokio::test]
async fn it_answers_over_udp_and_tcp() {
    let rig = rig().await;
    rig.names.upsert(&name(0, "10.0.0.1", 1)).await.unwrap();
    rig.until("mongo-0.prod.stead.internal.", "10.0.0.1").await;
    let question = question("MONGO-0.prod.stead.internal.", RecordType::A, true);
    for answer in [ask_udp(rig.server, &question).await, ask_tcp(rig.server, &question).await] {
        assert!(answer.metadata.authoritative && !answer.metadata.recursion_available);
        assert_eq!(
            (answer.metadata.id, answer.metadata.response_code),
            (4711, ResponseCode::NoError)
        );
        assert_eq!(answer.answers.len(), 1);
        assert_eq!(answer.answers[0].ttl, 5);
        assert!(answer.edns.is_some());
    }
    let missing =
        ask_udp(rig.server, &self::question("x.stead.internal.", RecordType::A, false)).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    let strange = ask_udp(rig.server, &self::question("example.com.", RecordType::A, false)).await;
    assert_eq!(strange.metadata.response_code, ResponseCode::Refused);
    assert!(!strange.metadata.authoritative);
    rig.cancel.cancel();
}

#[tokio::test]
async fn an_outage_of_the_store_leaves_the_last_answers() {
    let rig = rig().await;
    rig.names.upsert(&name(0, "10.0.0.1", 1)).await.unwrap();
    rig.until("mongo-0.prod.stead.internal.", "10.0.0.1").await;
    rig.store.set_reachable(false);
    tokio::time::sleep(Duration::from_millis(200)).await;
    rig.until("mongo-0.prod.stead.internal.", "10.0.0.1").await;
    rig.store.set_reachable(true);
    rig.names.upsert(&name(0, "10.0.0.2", 2)).await.unwrap();
    rig.until("mongo-0.prod.stead.internal.", "10.0.0.2").await;
}

#[tokio::test]
async fn no_answer_is_ever_empty_while_a_name_moves() {
    let rig = rig().await;
    rig.names.upsert(&name(0, "10.0.0.1", 1)).await.unwrap();
    rig.until("mongo-0.prod.stead.internal.", "10.0.0.1").await;
    let moving = async {
        for term in 2..400 {
            let address = format!("10.0.{}.{}", term / 250, term % 250 + 1);
            rig.names.upsert(&name(0, &address, term)).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let asking = async {
        let question = question("mongo-0.prod.stead.internal.", RecordType::A, false);
        for _ in 0..400 {
            let answer = ask_udp(rig.server, &question).await;
            assert_eq!(answer.answers.len(), 1, "{answer:?}");
        }
    };
    tokio::join!(moving, asking);
}

#[tokio::test]
async fn an_answer_too_long_for_udp_says_so_and_is_whole_over_tcp() {
    let rig = rig().await;
    for member in 0..64 {
        rig.names.upsert(&name(member, &format!("10.0.0.{}", member + 1), 1)).await.unwrap();
    }
    rig.until("mongo-63.prod.stead.internal.", "10.0.0.64").await;
    let question = question("_mongo._tcp.prod.stead.internal.", RecordType::SRV, false);
    let short = ask_udp(rig.server, &question).await;
    assert!(short.metadata.truncation);
    let whole = ask_tcp(rig.server, &question).await;
    assert_eq!((whole.answers.len(), whole.additionals.len()), (64, 64));
    assert!(!whole.metadata.truncation);
}
