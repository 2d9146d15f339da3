//! CSI Controller.

use std::collections::BTreeMap;

use stead_model::name::{Bytes, NodeId, SnapshotId, VolumeId};
use stead_model::operation::Operation;
use stead_model::record::Origin;
use stead_model::{Error, Result};
use stead_proto::csi::v1::controller_service_capability::rpc::Type as Capability;
use stead_proto::csi::v1::controller_service_capability::{self, Rpc};
use stead_proto::csi::v1::validate_volume_capabilities_response::Confirmed;
use stead_proto::csi::v1::volume_content_source::Type as Source;
use stead_proto::csi::v1::*;
use stead_proto::request::{SizeRange, access, accesses, check_map, required, required_name};
use tonic::{Request, Response};

use super::{ControllerService, Reply, answer};
use crate::core::Core;
use crate::page;
use crate::snapshot::Filter;
use crate::volume::{Create, Listed, Publish};

/// What is advertised always.
const CAPABILITIES: [Capability; 11] = [
    Capability::CreateDeleteVolume,
    Capability::PublishUnpublishVolume,
    Capability::ListVolumes,
    Capability::ListVolumesPublishedNodes,
    Capability::GetCapacity,
    Capability::CreateDeleteSnapshot,
    Capability::ListSnapshots,
    Capability::CloneVolume,
    Capability::PublishReadonly,
    Capability::ExpandVolume,
    Capability::ModifyVolume,
];

/// What the specification calls alpha and every client knows.
const KNOWN_ALPHA: [Capability; 2] = [Capability::GetVolume, Capability::SingleNodeMultiWriter];

/// Alpha that is young: a client which does not know it may fail (csi-sanity before 5.6 does).
const YOUNG_ALPHA: [Capability; 3] =
    [Capability::GetSnapshot, Capability::GetVolumeHealth, Capability::ListVolumeHealth];

fn parse_create(request: &CreateVolumeRequest) -> Result<Create> {
    let name = required_name("name", &request.name)?;
    accesses(&request.volume_capabilities)?;
    check_map("parameters", &request.parameters)?;
    check_map("mutable_parameters", &request.mutable_parameters)?;
    check_map("secrets", &request.secrets)?;
    let source = request.volume_content_source.as_ref().map(parse_source).transpose()?;
    let requisite = request.accessibility_requirements.as_ref();
    Ok(Create {
        name,
        range: SizeRange::parse(request.capacity_range.as_ref())?,
        origin: source,
        parameters: request.parameters.clone(),
        mutable_parameters: request.mutable_parameters.clone(),
        // Swarm sends a requirement without a single topology: it requires nothing.
        requisite: requisite
            .map(|requirement| requirement.requisite.iter().map(|t| t.segments.clone()).collect())
            .unwrap_or_default(),
    })
}

fn parse_source(source: &VolumeContentSource) -> Result<Origin> {
    match &source.r#type {
        Some(Source::Volume(volume)) => {
            Ok(Origin::Volume(required("volume_content_source.volume_id", &volume.volume_id)?))
        }
        Some(Source::Snapshot(snapshot)) => {
            let id = required("volume_content_source.snapshot_id", &snapshot.snapshot_id)?;
            Ok(Origin::Snapshot(id))
        }
        None => Err(Error::invalid("volume_content_source names neither volume nor snapshot")),
    }
}

fn parse_publish(request: &ControllerPublishVolumeRequest) -> Result<Publish> {
    check_map("secrets", &request.secrets)?;
    check_map("volume_context", &request.volume_context)?;
    Ok(Publish {
        volume: required("volume_id", &request.volume_id)?,
        node: required("node_id", &request.node_id)?,
        access: access(request.volume_capability.as_ref())?,
        readonly: request.readonly,
    })
}

fn published(node: Option<NodeId>) -> Vec<String> {
    node.map(String::from).into_iter().collect()
}

fn object(id: &VolumeId) -> Vec<String> {
    vec![format!("volume {id}")]
}

impl ControllerService {
    /// Parses in the name of a handler.
    fn parsed<T>(&self, parsed: Result<T>) -> std::result::Result<T, tonic::Status> {
        parsed.map_err(|error| self.refuse(error))
    }

    async fn validate(
        &self,
        request: &ValidateVolumeCapabilitiesRequest,
    ) -> Result<ValidateVolumeCapabilitiesResponse> {
        let id: VolumeId = required("volume_id", &request.volume_id)?;
        for (field, map) in [
            ("volume_context", &request.volume_context),
            ("parameters", &request.parameters),
            ("mutable_parameters", &request.mutable_parameters),
            ("secrets", &request.secrets),
        ] {
            check_map(field, map)?;
        }
        if request.volume_capabilities.is_empty() {
            return Err(Error::invalid("volume_capabilities is missing"));
        }
        let volume = self.core.ready_volume(&id).await?;
        let refuse =
            |message: String| Ok(ValidateVolumeCapabilitiesResponse { confirmed: None, message });
        if let Err(error) = accesses(&request.volume_capabilities) {
            return refuse(error.to_string());
        }
        if !request.volume_context.is_empty() && request.volume_context != volume.context {
            return refuse("volume_context is not that of the volume".to_owned());
        }
        if !request.parameters.is_empty() && request.parameters != volume.parameters {
            return refuse("the volume was made with other parameters".to_owned());
        }
        let confirmed = Confirmed {
            volume_context: request.volume_context.clone(),
            volume_capabilities: request.volume_capabilities.clone(),
            parameters: request.parameters.clone(),
            mutable_parameters: request.mutable_parameters.clone(),
        };
        let message = String::new();
        Ok(ValidateVolumeCapabilitiesResponse { confirmed: Some(confirmed), message })
    }

    async fn list(&self, request: &ListVolumesRequest) -> Result<ListVolumesResponse> {
        let limit = page::limit(request.max_entries)?;
        let after = page::parse_token::<VolumeId>(&request.starting_token)?;
        let listed = self.core.list_volumes(after.as_ref(), limit).await?;
        let last = listed.items.last().filter(|_| listed.more);
        let next_token = last.map(|l| page::token(l.volume.id.as_str())).unwrap_or_default();
        let topology = self.core.config.profile.topology;
        let entry = |Listed { volume, node }: Listed| list_volumes_response::Entry {
            volume: Some(answer::volume(&volume, topology)),
            status: Some(list_volumes_response::VolumeStatus {
                published_node_ids: published(node),
            }),
        };
        Ok(ListVolumesResponse {
            entries: listed.items.into_iter().map(entry).collect(),
            next_token,
        })
    }

    async fn list_snapshots_page(
        &self,
        request: &ListSnapshotsRequest,
    ) -> Result<ListSnapshotsResponse> {
        check_map("secrets", &request.secrets)?;
        let limit = page::limit(request.max_entries)?;
        let after = page::parse_token::<SnapshotId>(&request.starting_token)?;
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        let filter = Filter {
            id: given(&request.snapshot_id).map(|id| id.parse()).transpose()?,
            volume: given(&request.source_volume_id).map(|id| id.parse()).transpose()?,
        };
        let listed = self.core.list_snapshots(&filter, after.as_ref(), limit).await?;
        let last = listed.items.last().filter(|_| listed.more);
        let next_token = last.map(|s| page::token(s.id.as_str())).unwrap_or_default();
        let entries = listed
            .items
            .iter()
            .map(|s| list_snapshots_response::Entry { snapshot: Some(answer::snapshot(s)) })
            .collect();
        Ok(ListSnapshotsResponse { entries, next_token })
    }

    async fn capacity(&self, request: &GetCapacityRequest) -> Result<GetCapacityResponse> {
        let capacity = self.core.volumes.capacity().await?;
        let topology = request.accessible_topology.as_ref();
        let reached =
            topology.is_none_or(|t| t.segments.is_empty() || self.core.reaches(&t.segments));
        let fits = request.volume_capabilities.is_empty()
            || accesses(&request.volume_capabilities).is_ok();
        let sorted = stead_model::identity::Sorted::new(&request.parameters)?;
        self.core.volumes.check(&sorted.backend)?;
        let available = if reached && fits { capacity.available } else { Bytes(0) };
        Ok(GetCapacityResponse {
            available_capacity: answer::bytes(available),
            maximum_volume_size: Some(answer::bytes(capacity.volume_max)),
            minimum_volume_size: Some(answer::bytes(capacity.volume_min)),
        })
    }
}

#[tonic::async_trait]
impl controller_server::Controller for ControllerService {
    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Reply<CreateVolumeResponse> {
        let create = self.parsed(parse_create(request.get_ref()))?;
        let operation = Operation {
            rpc: "CreateVolume",
            objects: vec![format!("the volume named {}", create.name)],
            arguments: create.clone(),
        };
        let work = |core: Core| async move { core.create_volume(create).await };
        let volume = self.operate(operation, work).await?;
        let volume = answer::volume(&volume, self.core.config.profile.topology);
        Ok(Response::new(CreateVolumeResponse { volume: Some(volume) }))
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Reply<DeleteVolumeResponse> {
        let id: VolumeId = self.parsed(required("volume_id", &request.get_ref().volume_id))?;
        self.parsed(check_map("secrets", &request.get_ref().secrets))?;
        let operation = Operation { rpc: "DeleteVolume", objects: object(&id), arguments: () };
        self.operate(operation, |core| async move { core.delete_volume(&id).await }).await?;
        Ok(Response::new(DeleteVolumeResponse {}))
    }

    async fn controller_publish_volume(
        &self,
        request: Request<ControllerPublishVolumeRequest>,
    ) -> Reply<ControllerPublishVolumeResponse> {
        let publish = self.parsed(parse_publish(request.get_ref()))?;
        let operation = Operation {
            rpc: "ControllerPublishVolume",
            objects: object(&publish.volume),
            arguments: publish.clone(),
        };
        let work = |core: Core| async move { core.publish(publish).await };
        let publish_context = self.operate(operation, work).await?;
        Ok(Response::new(ControllerPublishVolumeResponse { publish_context }))
    }

    async fn controller_unpublish_volume(
        &self,
        request: Request<ControllerUnpublishVolumeRequest>,
    ) -> Reply<ControllerUnpublishVolumeResponse> {
        let request = request.get_ref();
        let id: VolumeId = self.parsed(required("volume_id", &request.volume_id))?;
        self.parsed(check_map("secrets", &request.secrets))?;
        let node: Option<NodeId> = match request.node_id.as_str() {
            "" => None,
            node => Some(self.parsed(node.parse())?),
        };
        let operation = Operation {
            rpc: "ControllerUnpublishVolume",
            objects: object(&id),
            arguments: node.clone(),
        };
        let work = |core: Core| async move { core.unpublish(&id, node).await };
        self.operate(operation, work).await?;
        Ok(Response::new(ControllerUnpublishVolumeResponse {}))
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Reply<ValidateVolumeCapabilitiesResponse> {
        let validated = self.validate(request.get_ref());
        Ok(Response::new(self.read("ValidateVolumeCapabilities", validated).await?))
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Reply<ListVolumesResponse> {
        Ok(Response::new(self.read("ListVolumes", self.list(request.get_ref())).await?))
    }

    async fn controller_list_volume_health(
        &self,
        request: Request<ControllerListVolumeHealthRequest>,
    ) -> Reply<ControllerListVolumeHealthResponse> {
        let request = request.get_ref();
        let list = async {
            let limit = page::limit(request.max_entries)?;
            let after = page::parse_token::<VolumeId>(&request.starting_token)?;
            let listed = self.core.list_volumes(after.as_ref(), limit).await?;
            let last = listed.items.last().filter(|_| listed.more);
            let next_token = last.map(|l| page::token(l.volume.id.as_str())).unwrap_or_default();
            let mut entries = Vec::new();
            for listed in listed.items {
                entries.push(self.core.health(&listed.volume).await?);
            }
            Ok(ControllerListVolumeHealthResponse { entries, next_token })
        };
        Ok(Response::new(self.read("ControllerListVolumeHealth", list).await?))
    }

    async fn controller_get_volume_health(
        &self,
        request: Request<ControllerGetVolumeHealthRequest>,
    ) -> Reply<ControllerGetVolumeHealthResponse> {
        let get = async {
            let id: VolumeId = required("volume_id", &request.get_ref().volume_id)?;
            let listed = self.core.get_volume(&id).await?;
            let volume_health = Some(self.core.health(&listed.volume).await?);
            Ok(ControllerGetVolumeHealthResponse { volume_health })
        };
        Ok(Response::new(self.read("ControllerGetVolumeHealth", get).await?))
    }

    async fn get_capacity(
        &self,
        request: Request<GetCapacityRequest>,
    ) -> Reply<GetCapacityResponse> {
        Ok(Response::new(self.read("GetCapacity", self.capacity(request.get_ref())).await?))
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Reply<ControllerGetCapabilitiesResponse> {
        let young: &[Capability] =
            if self.core.config.alpha_capabilities { &YOUNG_ALPHA } else { &[] };
        let capabilities = CAPABILITIES.iter().chain(&KNOWN_ALPHA).chain(young).map(|capability| {
            let rpc = Rpc { r#type: (*capability).into() };
            ControllerServiceCapability {
                r#type: Some(controller_service_capability::Type::Rpc(rpc)),
            }
        });
        Ok(Response::new(ControllerGetCapabilitiesResponse {
            capabilities: capabilities.collect(),
        }))
    }

    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Reply<CreateSnapshotResponse> {
        let request = request.get_ref();
        let name = self.parsed(required_name("name", &request.name))?;
        let volume: VolumeId =
            self.parsed(required("source_volume_id", &request.source_volume_id))?;
        self.parsed(check_snapshot_parameters(&request.parameters))?;
        self.parsed(check_map("secrets", &request.secrets))?;
        let operation = Operation {
            rpc: "CreateSnapshot",
            objects: vec![format!("snapshot name {name}"), format!("volume {volume}")],
            arguments: (name.clone(), volume.clone()),
        };
        let work = |core: Core| async move { core.create_snapshot(name, volume).await };
        let snapshot = self.operate(operation, work).await?;
        let snapshot = Some(answer::snapshot(&snapshot));
        Ok(Response::new(CreateSnapshotResponse { snapshot }))
    }

    async fn delete_snapshot(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Reply<DeleteSnapshotResponse> {
        let id: SnapshotId =
            self.parsed(required("snapshot_id", &request.get_ref().snapshot_id))?;
        self.parsed(check_map("secrets", &request.get_ref().secrets))?;
        let objects = vec![format!("snapshot {id}")];
        let operation = Operation { rpc: "DeleteSnapshot", objects, arguments: () };
        self.operate(operation, |core| async move { core.delete_snapshot(&id).await }).await?;
        Ok(Response::new(DeleteSnapshotResponse {}))
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Reply<ListSnapshotsResponse> {
        let list = self.list_snapshots_page(request.get_ref());
        Ok(Response::new(self.read("ListSnapshots", list).await?))
    }

    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Reply<GetSnapshotResponse> {
        let get = async {
            let id = required("snapshot_id", &request.get_ref().snapshot_id)?;
            let snapshot = self.core.get_snapshot(&id).await?;
            Ok(GetSnapshotResponse { snapshot: Some(answer::snapshot(&snapshot)) })
        };
        Ok(Response::new(self.read("GetSnapshot", get).await?))
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Reply<ControllerExpandVolumeResponse> {
        let request = request.get_ref();
        let id: VolumeId = self.parsed(required("volume_id", &request.volume_id))?;
        let range = self.parsed(parse_expand(request))?;
        let operation =
            Operation { rpc: "ControllerExpandVolume", objects: object(&id), arguments: range };
        let work = |core: Core| async move { core.expand(&id, range).await };
        let size = self.operate(operation, work).await?;
        // The loop device has to learn the new size too, so block volumes are no exception.
        Ok(Response::new(ControllerExpandVolumeResponse {
            capacity_bytes: answer::bytes(size),
            node_expansion_required: true,
        }))
    }

    async fn controller_get_volume(
        &self,
        request: Request<ControllerGetVolumeRequest>,
    ) -> Reply<ControllerGetVolumeResponse> {
        let get = async {
            let id = required("volume_id", &request.get_ref().volume_id)?;
            let Listed { volume, node } = self.core.get_volume(&id).await?;
            Ok(ControllerGetVolumeResponse {
                volume: Some(answer::volume(&volume, self.core.config.profile.topology)),
                status: Some(controller_get_volume_response::VolumeStatus {
                    published_node_ids: published(node),
                }),
            })
        };
        Ok(Response::new(self.read("ControllerGetVolume", get).await?))
    }

    async fn controller_modify_volume(
        &self,
        request: Request<ControllerModifyVolumeRequest>,
    ) -> Reply<ControllerModifyVolumeResponse> {
        let request = request.get_ref();
        let id: VolumeId = self.parsed(required("volume_id", &request.volume_id))?;
        self.parsed(check_map("mutable_parameters", &request.mutable_parameters))?;
        self.parsed(check_map("secrets", &request.secrets))?;
        let parameters = request.mutable_parameters.clone();
        let operation = Operation {
            rpc: "ControllerModifyVolume",
            objects: object(&id),
            arguments: parameters.clone(),
        };
        self.operate(operation, |core| async move { core.modify(&id, parameters).await }).await?;
        Ok(Response::new(ControllerModifyVolumeResponse {}))
    }
}

/// Snapshots have no parameters of ours; those of Kubernetes' snapshotter only name its objects.
fn check_snapshot_parameters(parameters: &BTreeMap<String, String>) -> Result<()> {
    check_map("parameters", parameters)?;
    match parameters.keys().find(|key| !key.starts_with("csi.storage.k8s.io/")) {
        Some(key) => Err(Error::invalid(format!("unknown parameter '{key}': there are none"))),
        None => Ok(()),
    }
}

fn parse_expand(request: &ControllerExpandVolumeRequest) -> Result<SizeRange> {
    check_map("secrets", &request.secrets)?;
    if request.capacity_range.is_none() {
        return Err(Error::invalid("capacity_range is missing"));
    }
    if request.volume_capability.is_some() {
        access(request.volume_capability.as_ref())?;
    }
    SizeRange::parse(request.capacity_range.as_ref())
}
