//! Rigs for the end-to-end tests and the demo: hosts in network namespaces, real databases.
//!
//! A rig knows the driver as an operator and an orchestrator know it: by its command line and its
//! sockets, never by its crates.

pub mod chaos;
pub mod demo;
pub mod driver;
pub mod folder;
pub mod host;
pub mod leak;
pub mod loops;
pub mod namespace;
pub mod need;
pub mod orchestrator;
