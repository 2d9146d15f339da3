//! Rigs for the end-to-end tests and the demo: hosts in network namespaces, real databases.

pub mod folder;
pub mod host;
pub mod loops;
pub mod namespace;
pub mod need;
