//! What serves, whatever is served: gRPC with its health service, HTTP for monitoring, and an
//! orderly end.

mod grpc;
mod http;
mod metrics;
mod process;

pub(crate) use grpc::{Grpc, listen};
pub(crate) use http::{Check, Monitor};
pub(crate) use process::Process;
