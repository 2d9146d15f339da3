//! The binary as its users meet it: run as a process, asked through its sockets.

// What the configuration of clippy exempts are test functions, not the functions that they call.
#![allow(clippy::unwrap_used)]

mod certificate;
mod get;
mod help;
mod process;
mod serve;
mod usage;
