//! The embedded authoritative server: UDP and TCP around the answers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::DNSClass;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use stead_model::name::DomainName;
use stead_model::registry::Registry;
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Zone};
use super::view::View;
use crate::error::{Error, Result};

/// How long a TCP connection may be idle.
const TCP_IDLE_MAX: Duration = Duration::from_secs(10);

/// How many answers may wait on one TCP connection.
const TCP_ANSWERS_MAX: usize = 32;

/// The largest UDP answer: what passes every path without fragments (RFC 9715).
const UDP_BYTES_MAX: u16 = 1232;

/// How the server is set up.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// The zone below which all clusters have theirs, such as `stead.internal`.
    pub base: DomainName,
    /// The addresses at which `ns.BASE` can be reached; empty where that is not told.
    pub servers: Vec<IpAddr>,
}

/// A server that is bound and not running yet.
pub struct NameServer {
    server: Server<Handler>,
    view: View,
    addresses: Vec<SocketAddr>,
}

impl NameServer {
    /// Binds every address, for UDP and TCP on the same port.
    pub async fn bind(config: ServerConfig) -> Result<Self, stead_model::Error> {
        let view = View::new();
        let zone = Zone { base: config.base, servers: config.servers };
        let mut server = Server::new(Handler { zone, view: view.clone() });
        let mut addresses = Vec::new();
        for listen in config.listen {
            let (udp, tcp) = bind(listen).await.map_err(|source| Error::Io {
                what: format!("answer DNS at {listen}: is another server there?"),
                source,
            })?;
            addresses.extend(udp.local_addr().ok());
            server.register_socket(udp);
            server.register_listener(tcp, TCP_IDLE_MAX, TCP_ANSWERS_MAX);
        }
        Ok(Self { server, view, addresses })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers from the store's names until cancelled; while the store is away, from the last ones.
    pub async fn serve(mut self, registry: Registry, cancel: CancellationToken) {
        let follow = self.view.follow(registry, cancel.clone());
        let answer = async {
            cancel.cancelled().await;
            if let Err(error) = self.server.shutdown_gracefully().await {
                tracing::warn!(%error, "the DNS server did not stop cleanly");
            }
        };
        tokio::join!(follow, answer);
    }
}

async fn bind(listen: SocketAddr) -> std::io::Result<(UdpSocket, TcpListener)> {
    let udp = UdpSocket::bind(listen).await?;
    let tcp = TcpListener::bind(udp.local_addr()?).await?;
    Ok((udp, tcp))
}

struct Handler {
    zone: Zone,
    view: View,
}

impl Handler {
    fn answer(&self, request: &Request) -> Answer {
        let error = |code| Answer { code, ..Answer::default() };
        if request.metadata.message_type != MessageType::Query {
            return error(ResponseCode::FormErr);
        }
        if request.metadata.op_code != OpCode::Query {
            return error(ResponseCode::NotImp);
        }
        if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            return error(ResponseCode::BADVERS);
        }
        let Ok(info) = request.request_info() else { return error(ResponseCode::FormErr) };
        if !matches!(info.query.query_class(), DNSClass::IN | DNSClass::ANY) {
            return Answer::refused();
        }
        let name = info.query.name().to_string();
        let asked = &info.query.original().name;
        let names = self.view.read();
        self.zone.answer(&names, asked, name.trim_end_matches('.'), info.query.query_type())
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let answer = self.answer(request);
        metrics::counter!("stead_dns_answers_total", "code" => answer.code.to_str()).increment(1);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = answer.code;
        metadata.authoritative = answer.authoritative;
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().clamp(512, UDP_BYTES_MAX));
            edns.set_version(0);
            edns
        });
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let (none, soa) = (&[], &answer.authority);
        let message = builder.build(metadata, &answer.answers, none, soa, &answer.additionals);
        match response.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "a DNS answer could not be sent");
                let counts = hickory_proto::op::HeaderCounts::default();
                ResponseInfo::from(hickory_proto::op::Header { metadata, counts })
            }
        }
    }
}
