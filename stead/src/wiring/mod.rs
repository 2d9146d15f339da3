//! Which part is made of which: store, registry, back ends, services, listeners. Every listener is
//! bound before the first part starts, so that a wrong address ends the process and nothing else.

mod agent;
mod all;
mod controller;
mod dns;
mod driver;
mod health;
mod host;
mod netagent;
mod node;
mod state;
mod store;

pub(crate) use all::{All, all};
pub(crate) use controller::{Controller, controller};
pub(crate) use netagent::{Netagent, netagent};
pub(crate) use node::{Node, node};
pub(crate) use store::registry;
