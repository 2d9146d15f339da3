//! Tests as root, on hosts that are network namespaces; without root they say so and pass.
#![allow(clippy::unwrap_used, clippy::expect_used)] // The functions beside the tests too.

mod agent;
mod cluster;
mod kernel;
mod support;
