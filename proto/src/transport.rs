//! Where Stead's own services are served and reached: on a unix socket, or on TCP with mutual TLS.
//! There is no third way: without TLS a TCP port is refused, on loopback too, since every user of
//! a host can reach it there.

use std::fmt;
use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use futures::FutureExt;
use stead_model::{Error, Result};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

use crate::tls::Tls;

/// How often a silent connection is asked whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long the answer may take.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(5);
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long calls may go on after the server was told to stop; a watch never ends by itself.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket of this host: `unix:///run/stead/store.sock`.
    Unix(PathBuf),
    /// Host and port: `tcp://10.0.0.1:7420`, or without `tcp://`.
    Tcp(String),
}

impl FromStr for Address {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix://") {
            if path.starts_with('/') {
                return Ok(Self::Unix(path.into()));
            }
        } else {
            let tcp = text.strip_prefix("tcp://").unwrap_or(text);
            let parts = tcp.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
            if matches!(parts, Some((host, Ok(_))) if !host.is_empty() && !host.contains('/')) {
                return Ok(Self::Tcp(tcp.to_owned()));
            }
        }
        let forms = "use unix:///PATH or tcp://HOST:PORT";
        Err(Error::invalid(format!("'{text}' is no address of a service: {forms}")))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(tcp) => write!(f, "tcp://{tcp}"),
        }
    }
}

/// A port or a socket that is ready to be served on.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    incoming: Incoming,
}

#[derive(Debug)]
enum Incoming {
    Unix(UnixListener),
    Tcp(TcpListener, Tls),
}

/// Binds an address. TCP without TLS is [`Kind::Precondition`](stead_model::Kind).
pub async fn listen(address: &Address, tls: Option<&Tls>) -> Result<Listener> {
    let failed = |error: io::Error| {
        Error::precondition(format!("cannot listen on '{address}'")).because(error)
    };
    let incoming = match (address, tls) {
        (Address::Unix(path), _) => {
            make_way(path).await?;
            let listener = UnixListener::bind(path).map_err(failed)?;
            std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
            Incoming::Unix(listener)
        }
        (Address::Tcp(tcp), Some(tls)) => {
            let listener = TcpListener::bind(tcp).await.map_err(failed)?;
            Incoming::Tcp(listener, tls.clone())
        }
        (Address::Tcp(_), None) => return Err(no_tls(address)),
    };
    Ok(Listener { address: address.clone(), incoming })
}

fn no_tls(address: &Address) -> Error {
    Error::precondition(format!(
        "'{address}' needs TLS: give a CA, a certificate and a key ('stead certificate' makes them), \
         or use a unix socket"
    ))
}

/// Removes the socket of a process that is gone.
async fn make_way(path: &Path) -> Result<()> {
    let Ok(there) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let at = path.display();
    if !there.file_type().is_socket() {
        return Err(Error::precondition(format!("'{at}' is in the way and is no socket: move it")));
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(Error::precondition(format!(
            "another process listens on '{at}': stop it, or use another socket"
        )));
    }
    std::fs::remove_file(path).map_err(|error| {
        Error::precondition(format!("cannot remove the old socket '{at}'")).because(error)
    })
}

impl Listener {
    /// Where it listens, with the port that the kernel chose where none was asked for.
    pub fn address(&self) -> Address {
        match &self.incoming {
            Incoming::Tcp(listener, _) => match listener.local_addr() {
                Ok(local) => Address::Tcp(SocketAddr::to_string(&local)),
                Err(_) => self.address.clone(),
            },
            Incoming::Unix(_) => self.address.clone(),
        }
    }

    /// Serves until `stop` is ready; calls under way get a moment to end, and a connection that is
    /// still open after that, as that of a watch, ends with the process.
    pub async fn serve(
        self,
        routes: Routes,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let failed = |error: tonic::transport::Error| {
            Error::precondition(format!("cannot serve on '{}'", self.address)).because(error)
        };
        let stop = stop.shared();
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER));
        let farewell = {
            let stop = stop.clone();
            async move {
                stop.await;
                tokio::time::sleep(FAREWELL).await;
            }
        };
        let served = match self.incoming {
            Incoming::Unix(listener) => {
                let incoming = UnixListenerStream::new(listener);
                server.add_routes(routes).serve_with_incoming_shutdown(incoming, stop).boxed()
            }
            Incoming::Tcp(listener, tls) => {
                let mut server = server.tls_config(tls.server()).map_err(failed)?;
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                server.add_routes(routes).serve_with_incoming_shutdown(incoming, stop).boxed()
            }
        };
        let served = tokio::select! {
            served = served => served.map_err(failed),
            () = farewell => Ok(()),
        };
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path); // The next one to listen makes way for itself.
        }
        served
    }
}

/// A channel to an address: it connects when it is used, and again after it was lost.
pub fn connect(address: &Address, tls: Option<&Tls>) -> Result<Channel> {
    let failed = |error: tonic::transport::Error| {
        Error::precondition(format!("cannot connect to '{address}'")).because(error)
    };
    let uri = match address {
        Address::Unix(_) => address.to_string(),
        Address::Tcp(tcp) => format!("https://{tcp}"),
    };
    let mut endpoint = Endpoint::from_shared(uri)
        .map_err(|_| Error::invalid(format!("'{address}' is no address of a service")))?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .keep_alive_while_idle(true);
    if matches!(address, Address::Tcp(_)) {
        let tls = tls.ok_or_else(|| no_tls(address))?;
        endpoint = endpoint.tls_config(tls.client()).map_err(failed)?;
    }
    Ok(endpoint.connect_lazy())
}
