//! Stead's centre: what a member's identity is, who may hold it, and what the rest of the program
//! must be able to do for it.
//!
//! This crate knows no wire format, no kernel interface, no cloud and no command line. It defines
//! the domain types ([`name`], [`record`]), the rules as pure functions ([`hold`], [`lease`],
//! [`address`], [`identity`]) and the four ports ([`port`]) that the other rooms implement.

pub mod address;
pub mod clock;
pub mod error;
pub mod hold;
pub mod identity;
pub mod image;
pub mod lease;
pub mod name;
pub mod operation;
pub mod orchestrator;
pub mod port;
pub mod record;
pub mod registry;

pub use error::{Error, Kind, Result};
