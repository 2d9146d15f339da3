//! Addresses, announcements and names of the members that a node holds.
//!
//! An [`Agent`] derives what has to be up on its node from the identity store alone and keeps the
//! kernel, the network and DNS in agreement with it, for as long as it can renew the node's lease.

mod agent;
pub mod announce;
mod desired;
pub mod dns;
mod error;
mod follow;
mod jitter;
pub mod kernel;
mod l2;
mod lease;
mod links;
mod reconcile;
mod service;
mod slot;
mod state;

pub use agent::{Agent, CHECK_INTERVAL, Config};
pub use desired::{Wanted, desired, is_up};
pub use error::Error;
pub use l2::L2Addresses;
pub use lease::{Lease, LeaseView};
pub use links::{Configured, Link, Snapshot};
pub use service::Service;
