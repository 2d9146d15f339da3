//! CSI Identity, Controller and GroupController, the pool back end and the embedded identity store.

pub mod pool;
pub mod store;
