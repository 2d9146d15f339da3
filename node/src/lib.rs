//! CSI Node: devices, file systems and mounts.
//!
//! Three concerns, one folder each: [`device`] finds the block device of a volume, [`filesystem`] says
//! what is on it and makes one only where that is proven safe, [`mount`] puts it where the workload
//! looks. [`service`] strings them together for each procedure of CSI Node. The kernel's own tables
//! are the truth; the [`state`] files only remember what the kernel cannot tell.

pub mod device;
pub mod error;
pub mod filesystem;
pub mod mount;
pub mod service;
pub mod state;
pub mod stats;

mod blocking;
mod ownership;

pub use error::{NodeError, Result};
pub use service::{Config, NodeService};
