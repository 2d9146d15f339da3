//! Where Stead's own services are served and reached: on a unix socket, or on TCP with mutual TLS.
//! There is no third way: without TLS a TCP port is refused, on loopback too, since every user of
//! a host can reach it there.

mod listener;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use stead_model::{Error, Result};
use tonic::transport::{Channel, Endpoint};

pub use self::listener::{Listener, listen};
use crate::tls::Tls;

/// How often a silent connection is asked whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long the answer may take.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(5);
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket of this host: `unix:///var/lib/stead/store.sock`.
    Unix(PathBuf),
    /// Host and port, with TLS: `https://10.0.0.1:9800`.
    Tcp(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(tcp) => write!(f, "https://{tcp}"),
        }
    }
}

/// A channel to an address: it connects when it is used, and again after it was lost.
pub fn connect(address: &Address, tls: Option<&Tls>) -> Result<Channel> {
    let failed = |error: tonic::transport::Error| {
        Error::precondition(format!("cannot connect to '{address}'")).because(error)
    };
    let mut endpoint = Endpoint::from_shared(address.to_string())
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

fn no_tls(address: &Address) -> Error {
    Error::precondition(format!(
        "'{address}' needs TLS: give a CA, a certificate and a key ('stead certificate' makes them), \
         or use a unix socket"
    ))
}
