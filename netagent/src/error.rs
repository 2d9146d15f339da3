//! What can go wrong in this crate, and the one conversion into the model's error.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use stead_model::{Error as ModelError, Kind};

/// The result of everything in this crate.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the agent; its text says what to do about it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are the terms that the messages speak of.
pub enum Error {
    /// The pool names an interface that this host does not have.
    #[error(
        "no interface '{wanted}' for {address}: this host has {have}; correct the pool's interface"
    )]
    NoSuchInterface { address: IpAddr, wanted: String, have: String },
    /// No interface is in the address's network.
    #[error(
        "no interface of this host that is up has an address in the network of {address}: \
         name one in the pool (interface), or give this host an address in that network"
    )]
    NoInterface { address: IpAddr },
    /// The interface exists but is down.
    #[error("interface '{name}' for {address} is down: set it up")]
    InterfaceDown { address: IpAddr, name: String },
    /// Somebody else configured the address here.
    #[error(
        "{address} is already configured on this host (interface index {link}) and not by Stead: \
         remove it there, or reserve it in the pool"
    )]
    Foreign { address: IpAddr, link: u32 },
    /// The kernel dropped our mark.
    #[error("this kernel does not keep IFA_PROTO on addresses: Linux 5.18 or later is needed")]
    NoAddressTag,
    /// What is left of the lease is too short for the kernel's clock.
    #[error("the node lease is over or about to be: nothing is brought up until it is renewed")]
    LeaseShort,
    /// The agent has not read the store since it started.
    #[error("the agent is starting: it has not read the store yet")]
    Starting,
    /// The member has neither static addresses nor a node to go by.
    #[error(
        "member '{member}' has no static address and this node has none: set the node's addresses"
    )]
    NoAddress { member: String },
    /// A step took too long.
    #[error("{step} did not finish within {seconds} s")]
    Deadline { step: &'static str, seconds: u64 },
    /// The kernel refused a request about addresses or links.
    #[error("the kernel could not {what}")]
    Netlink { what: String, source: rtnetlink::Error },
    /// A socket could not be opened or used.
    #[error("could not {what}")]
    Io { what: String, source: io::Error },
    /// The file that carries the lease over a restart could not be used.
    #[error("could not write {}: the lease would not survive a restart of the agent", path.display())]
    StateFile { path: PathBuf, source: io::Error },
    /// The store or a back end refused.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NoSuchInterface { .. }
            | Self::NoInterface { .. }
            | Self::InterfaceDown { .. }
            | Self::Foreign { .. }
            | Self::NoAddress { .. } => Kind::Precondition,
            Self::NoAddressTag => Kind::Unsupported,
            Self::LeaseShort | Self::Starting | Self::Deadline { .. } => Kind::Unavailable,
            Self::Netlink { .. } | Self::Io { .. } | Self::StateFile { .. } => Kind::Unavailable,
            Self::Model(error) => error.kind(),
        }
    }
}

impl From<Error> for ModelError {
    fn from(error: Error) -> Self {
        let (kind, message) = (error.kind(), error.to_string());
        match error {
            Error::Model(error) => error,
            Error::Netlink { source, .. } => Self::new(kind, message).because(source),
            Error::Io { source, .. } | Error::StateFile { source, .. } => {
                Self::new(kind, message).because(source)
            }
            _ => Self::new(kind, message),
        }
    }
}
