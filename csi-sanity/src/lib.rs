//! What the suites in `tests/` share: a real driver process with its own directories and its own
//! network, a client of its socket, and what the kernel says about it.
//!
//! The suites know the driver by its sockets, its command line and the pool's published layout
//! ([`stead_model::image::Layout`]), and by nothing else. Each test has a driver of its own.
//!
//! The binary is the one that `STEAD_BIN` names, else the one in the target directory, which is built
//! if it is missing. Everything needs root and loop devices; without them a test says so and passes.

pub mod answer;
pub mod ask;
mod binary;
mod csi;
mod disk;
mod driver;
pub mod host;
mod life;
mod network;
mod setup;
mod site;

pub use csi::Csi;
pub use disk::Disk;
pub use driver::Driver;
pub use life::Life;
pub use setup::{Refused, Setup};
