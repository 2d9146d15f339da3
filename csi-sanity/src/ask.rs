//! Requests as an orchestrator would make them; a test changes what it is about.

use std::collections::BTreeMap;

use stead_proto::csi::v1::volume_capability::access_mode::Mode;
use stead_proto::csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use stead_proto::csi::v1::volume_content_source::{SnapshotSource, Type, VolumeSource};
use stead_proto::csi::v1::*;

/// A mebibyte.
pub const MIB: i64 = 1 << 20;

/// The size of a volume unless a test says otherwise: room for a small ext4.
pub const SIZE: i64 = 16 * MIB;

/// A map from pairs.
pub fn map<K: Into<String>, V: Into<String>>(
    pairs: impl IntoIterator<Item = (K, V)>,
) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

/// Exactly this many bytes at least.
pub fn sized(required_bytes: i64) -> Option<CapacityRange> {
    Some(CapacityRange { required_bytes, limit_bytes: 0 })
}

/// A capability of this access type and mode.
pub fn capability(access_type: AccessType, mode: Mode) -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(access_type),
    }
}

/// A mounted file system of the driver's choice, for one writer.
pub fn mount() -> VolumeCapability {
    mount_with(MountVolume::default())
}

/// A mounted file system, for one writer.
pub fn mount_with(mount: MountVolume) -> VolumeCapability {
    capability(AccessType::Mount(mount), Mode::SingleNodeWriter)
}

/// A volume of this size with this file system.
pub fn create_with(name: impl Into<String>, fs_type: &str, bytes: i64) -> CreateVolumeRequest {
    let mount = MountVolume { fs_type: fs_type.to_owned(), ..Default::default() };
    CreateVolumeRequest {
        capacity_range: sized(bytes),
        volume_capabilities: vec![mount_with(mount)],
        ..create(name)
    }
}

/// A raw device, for one writer.
pub fn block() -> VolumeCapability {
    capability(AccessType::Block(BlockVolume {}), Mode::SingleNodeWriter)
}

/// A plain volume to mount.
pub fn create(name: impl Into<String>) -> CreateVolumeRequest {
    CreateVolumeRequest {
        name: name.into(),
        capacity_range: sized(SIZE),
        volume_capabilities: vec![mount()],
        ..Default::default()
    }
}

/// A volume of a member of cluster `c`, with more parameters, below `stead.dev/`.
pub fn create_for(
    name: impl Into<String>,
    member: &str,
    more: &[(&str, &str)],
) -> CreateVolumeRequest {
    let base = [("cluster", "c"), ("member", member)];
    let pairs = base.iter().chain(more).map(|(k, v)| (format!("stead.dev/{k}"), (*v).to_owned()));
    CreateVolumeRequest { parameters: pairs.collect(), ..create(name) }
}

/// The content of a volume.
pub fn content_of_volume(volume_id: impl Into<String>) -> Option<VolumeContentSource> {
    let source = VolumeSource { volume_id: volume_id.into() };
    Some(VolumeContentSource { r#type: Some(Type::Volume(source)) })
}

/// The content of a snapshot.
pub fn content_of_snapshot(snapshot_id: impl Into<String>) -> Option<VolumeContentSource> {
    let source = SnapshotSource { snapshot_id: snapshot_id.into() };
    Some(VolumeContentSource { r#type: Some(Type::Snapshot(source)) })
}

/// A snapshot of a volume.
pub fn snapshot(name: impl Into<String>, volume_id: impl Into<String>) -> CreateSnapshotRequest {
    CreateSnapshotRequest {
        name: name.into(),
        source_volume_id: volume_id.into(),
        ..Default::default()
    }
}

/// The volume's deletion.
pub fn delete(volume_id: impl Into<String>) -> DeleteVolumeRequest {
    DeleteVolumeRequest { volume_id: volume_id.into(), ..Default::default() }
}
