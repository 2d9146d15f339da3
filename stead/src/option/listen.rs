//! Where the store is served.

use std::net::SocketAddr;
use std::str::FromStr;

use super::SocketPath;

/// A place where the store is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreListen {
    /// To this host, by the permissions of the file.
    Unix(SocketPath),
    /// To other hosts, with certificates on both sides.
    Tls(SocketAddr),
}

impl FromStr for StoreListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("unix:") || text.starts_with('/') {
            return text.parse().map(Self::Unix);
        }
        text.strip_prefix("https://").unwrap_or(text).parse().map(Self::Tls).map_err(|_| {
            "give a UNIX socket (unix:///...) or IP:PORT, such as 10.0.0.5:9800".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_listens_on_a_socket_or_an_address() {
        assert!(matches!("unix:///a/s.sock".parse(), Ok(StoreListen::Unix(_))));
        assert!(matches!("[::1]:9800".parse(), Ok(StoreListen::Tls(_))));
        for bad in ["", "9800", "http://1.2.3.4:5", "host:9800"] {
            assert!(bad.parse::<StoreListen>().is_err(), "{bad}");
        }
    }
}
