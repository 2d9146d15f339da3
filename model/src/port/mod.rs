//! The four ports: what the rest of the program needs from a store, from volumes, from the network
//! and from DNS. Each file holds one trait, its contract in sentences, and (feature `contract`) the
//! functions that hold every implementation to it.

mod address;
mod dns;
mod store;
mod volume;

pub use address::{AddressBackend, Assignment};
pub use dns::DnsBackend;
pub use store::{Change, Changes, Entry, IdentityStore, Key, PAGE_ENTRIES_MAX, Page, Revision};
pub use volume::{
    AdjustBackend, Attach, Attachment, BackendVolume, Capacity, FenceStrength, Progress,
    SnapshotBackend, SnapshotRequest, Source, TakenSnapshot, VolumeBackend, VolumeRequest, Volumes,
};
