//! The one binary of Stead.
fn main() {}
