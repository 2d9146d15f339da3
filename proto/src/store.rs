//! The identity store of another host: [`RemoteStore`] asks, [`StoreService`] answers.

mod client;
mod server;

#[cfg(test)]
mod tests;

pub use client::RemoteStore;
pub use server::StoreService;

use stead_model::Result;
use stead_model::port::{Entry, Revision};
use tonic::Status;

use crate::stead::v1;

/// The mark of a status that the store itself answered. One without it comes from the connection,
/// whatever its code says, and then nobody knows what became of the call.
const ANSWERED: &str = "stead-answered";

fn to_wire(entry: Entry) -> v1::Entry {
    v1::Entry { key: entry.key.to_string(), value: entry.value.into(), revision: entry.revision.0 }
}

fn from_wire(entry: v1::Entry) -> Result<Entry> {
    Ok(Entry {
        key: entry.key.parse()?,
        value: entry.value.into(),
        revision: Revision(entry.revision),
    })
}

fn refuse(error: stead_model::Error) -> Status {
    let mut status = crate::status::status(error);
    status.metadata_mut().insert(ANSWERED, tonic::metadata::MetadataValue::from_static("1"));
    status
}
