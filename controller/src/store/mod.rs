//! The embedded identity store: one file, one writer, every write durable.
