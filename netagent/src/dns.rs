//! Names: where they are written, and the server that answers for them.

mod names;

pub use names::EmbeddedNames;
