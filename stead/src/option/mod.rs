//! The options, in the groups that `--help` shows, and the values that they take. A value that has
//! been parsed is valid: no part checks it again.

mod driver;
mod duration;
mod groups;
mod listen;
mod socket;
mod store;
mod topology;

pub(crate) use groups::{
    ControllerOptions, DnsOptions, DriverOptions, HttpOptions, LogFormat, LogOptions, NodeIdentity,
    NodeName, NodeOptions, OutputFormat, PoolOptions, StateOptions, StoreListenOptions,
    StoreOptions, TlsFiles, TlsOptions,
};
pub(crate) use listen::StoreListen;
pub(crate) use socket::SocketPath;
pub(crate) use store::StoreAddress;
