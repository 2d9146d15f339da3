//! CSI Identity, Controller and GroupController, the pool back end and the embedded identity store.

mod core;
mod health;
mod hold;
mod lease;
mod member;
mod page;
pub mod pool;
mod progress;
pub mod service;
mod snapshot;
pub mod store;
mod volume;
