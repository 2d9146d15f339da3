//! Benchmarks against peers and limits.
//!
//! A time on one machine says little. What is reported is therefore how a cost grows while the
//! driver fills, and how it compares with what the same machine needs, in the same run, for the
//! durable write that no driver can do without.

pub mod driver;
mod error;
pub mod leak;
pub mod limit;
pub mod measure;
pub mod report;
pub mod workload;

pub use error::{BenchError, Result};
