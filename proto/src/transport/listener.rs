//! Listening and serving. To bind is a step of its own: a process that cannot have its address ends
//! before it has touched a volume.

use std::fs;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::stat::{Mode, fchmod};
use stead_model::{Error, Result};
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::{Address, no_tls};
use crate::tls::Tls;

/// How often an idle peer is asked whether it still is there, and how long it may take to answer: a
/// host that died without a word must not keep its connection.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A port or a socket that is ready to be served on; whoever connects meanwhile waits.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    incoming: Incoming,
}

#[derive(Debug)]
enum Incoming {
    Unix(UnixListener),
    Tls(TcpListener, Tls),
}

/// Binds an address. A UNIX socket is for our own user alone; the file of a process that is gone is
/// replaced, one that answers is left alone, and so is one that is no socket. TCP without TLS is
/// [`Kind::Precondition`](stead_model::Kind), as is all else that goes wrong.
pub async fn listen(address: &Address, tls: Option<&Tls>) -> Result<Listener> {
    let (address, incoming) = match (address, tls) {
        (Address::Unix(path), _) => {
            make_way(path).await?;
            let listener = bind(path).map_err(|error| refused(path, error))?;
            (address.clone(), Incoming::Unix(listener))
        }
        (Address::Tcp(tcp), Some(tls)) => {
            let failed = |error: io::Error| {
                let message = format!("could not listen on {tcp} (name another address)");
                Error::precondition(message).because(error)
            };
            let listener = TcpListener::bind(tcp).await.map_err(failed)?;
            let local = listener.local_addr().map_err(failed)?;
            (Address::Tcp(local.to_string()), Incoming::Tls(listener, tls.clone()))
        }
        (Address::Tcp(_), None) => return Err(no_tls(address)),
    };
    Ok(Listener { address, incoming })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    // The file must not be open to others for even a moment. It takes its mode from the socket that
    // is bound to it; a umask would do as well, but for every thread of the process.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

async fn make_way(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| refused(path, error))?;
    }
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(path, error)),
        Ok(found) => found,
    };
    let at = path.display();
    if !found.file_type().is_socket() {
        return Err(Error::precondition(format!(
            "'{at}' exists and is no socket: remove it, or choose another path"
        )));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(Error::precondition(format!(
            "another process answers at '{at}': stop it, or choose another path"
        ))),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| refused(path, error))
        }
        Err(error) => Err(refused(path, error)),
    }
}

fn refused(path: &Path, error: io::Error) -> Error {
    Error::precondition(format!(
        "could not listen at '{}' (choose another path, or run as a user who may write there)",
        path.display()
    ))
    .because(error)
}

impl Listener {
    /// Where it listens, with the port that the kernel chose where none was asked for.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until `stop` is ready, then lets the calls under way finish. A watch never does by
    /// itself: how long to wait for it is the caller's to say. The file of a socket stays, for by now
    /// it may be that of a successor, who makes way for itself.
    pub async fn serve(self, routes: Routes, stop: impl Future<Output = ()>) -> Result<()> {
        let failed = |error: tonic::transport::Error| {
            Error::precondition(format!("could not serve at '{}'", self.address)).because(error)
        };
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE));
        let served = match self.incoming {
            Incoming::Unix(listener) => {
                let incoming = UnixListenerStream::new(listener);
                server.add_routes(routes).serve_with_incoming_shutdown(incoming, stop).await
            }
            Incoming::Tls(listener, tls) => {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                let mut server = server.tls_config(tls.server()).map_err(failed)?;
                server.add_routes(routes).serve_with_incoming_shutdown(incoming, stop).await
            }
        };
        served.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_socket_is_for_its_owner_alone_and_its_directory_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/s");
        let _listener = listen(&Address::Unix(path.clone()), None).await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = Address::Unix(path.clone());
        let live = listen(&address, None).await.unwrap();
        let error = listen(&address, None).await.unwrap_err();
        assert!(error.to_string().contains("another process answers"), "{error}");
        drop(live);
        assert!(path.exists());
        listen(&address, None).await.unwrap();
    }

    #[tokio::test]
    async fn a_socket_that_cannot_be_asked_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        // One of datagrams: it is alive, but refuses a stream by another error.
        let _other = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let error = listen(&Address::Unix(path.clone()), None).await.unwrap_err();
        assert!(error.to_string().contains("could not listen at"), "{error}");
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        fs::write(&path, "mine").unwrap();
        let error = listen(&Address::Unix(path.clone()), None).await.unwrap_err();
        assert!(error.to_string().contains("is no socket"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
