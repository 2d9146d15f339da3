//! Where the store is reached.

use std::fmt;
use std::str::FromStr;

use super::SocketPath;

/// Where the store is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreAddress {
    /// On this host.
    Unix(SocketPath),
    /// On another host, with certificates on both sides: `HOST:PORT`.
    Tls(String),
}

impl FromStr for StoreAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("unix:") || text.starts_with('/') {
            return text.parse().map(Self::Unix);
        }
        let address = text.strip_prefix("https://").filter(|address| {
            let parts = address.rsplit_once(':');
            parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        });
        address.map(|address| Self::Tls(address.to_owned())).ok_or_else(|| {
            "give unix:///PATH or https://HOST:PORT; the store is not served in plain text"
                .to_owned()
        })
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.fmt(f),
            Self::Tls(address) => write!(f, "https://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_never_reached_in_plain_text() {
        assert!(matches!("https://ctl:9800".parse(), Ok(StoreAddress::Tls(_))));
        assert!(matches!("/a/s.sock".parse(), Ok(StoreAddress::Unix(_))));
        for bad in ["", "http://ctl:9800", "ctl:9800", "https://ctl", "https://:1"] {
            assert!(bad.parse::<StoreAddress>().is_err(), "{bad}");
        }
    }
}
