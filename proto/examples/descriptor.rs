//! Writes the descriptors to standard output, for tools in other languages.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout().lock().write_all(stead_proto::DESCRIPTOR)
}
