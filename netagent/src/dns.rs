//! Names: where they are written, and the server that answers for them.

mod answer;
mod names;
mod server;
mod view;

pub use names::EmbeddedNames;
pub use server::{NameServer, ServerConfig};
