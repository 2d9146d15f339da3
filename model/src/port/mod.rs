//! The four ports: what the rest of the program needs from a store, from volumes, from the network
//! and from DNS. Each file holds one trait, its contract in sentences, and (feature `contract`) the
//! functions that hold every implementation to it.

mod address;
mod dns;
#[cfg(any(test, feature = "contract"))]
mod memory;
mod store;
mod volume;

pub use address::{AddressBackend, Assignment};
pub use dns::DnsBackend;
#[cfg(any(test, feature = "contract"))]
pub use memory::MemoryStore;
pub use store::{
    Change, Changes, Entry, IdentityStore, Key, PAGE_ENTRIES_MAX, Page, Revision, VALUE_BYTES_MAX,
    check_value,
};
pub use volume::{
    AdjustBackend, Attach, Attachment, BackendVolume, Capacity, FenceStrength, Progress,
    SnapshotBackend, SnapshotRequest, Source, TakenSnapshot, VolumeBackend, VolumeRequest, Volumes,
};

/// What every implementation of a port has to pass: each file's `contract`, under the port's name.
#[cfg(any(test, feature = "contract"))]
pub mod contract {
    pub use super::address::contract as address;
    pub use super::dns::contract as dns;
    pub use super::store::contract as store;
    pub use super::volume::contract as volume;
}
