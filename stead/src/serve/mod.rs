//! What serves, whatever is served: sockets, gRPC with its health service, HTTP for monitoring, and
//! an orderly end.

mod grpc;
mod http;
mod metrics;
mod process;
mod socket;

pub(crate) use grpc::{Grpc, Wire};
pub(crate) use http::{Check, Monitor};
pub(crate) use process::Process;
pub(crate) use socket::{bind_tcp, bind_unix};
