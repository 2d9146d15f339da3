//! The edge: csi.v1 and stead.v1 on the wire, conversion to the domain, the one mapping of errors to gRPC codes.

pub mod certificate;
mod redact;
pub mod request;
pub mod status;
pub mod store;
pub mod tls;
pub mod transport;

/// The Container Storage Interface.
pub mod csi {
    /// Version 1.13.0, generated from `csi/v1/csi.proto`; the comments are there.
    #[allow(missing_docs, unreachable_pub, rustdoc::all, clippy::all, clippy::too_many_lines)]
    pub mod v1 {
        tonic::include_proto!("csi.v1");
    }
}

/// The interfaces between Stead's own parts.
pub mod stead {
    /// Version 1, generated from `stead/v1/*.proto`; the comments are there.
    #[allow(missing_docs, unreachable_pub, rustdoc::all, clippy::all, clippy::too_many_lines)]
    pub mod v1 {
        tonic::include_proto!("stead.v1");
    }
}

/// The descriptors of both interfaces and of what they import, as an encoded `FileDescriptorSet`:
/// what a server needs to describe itself, and a test to compare.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
