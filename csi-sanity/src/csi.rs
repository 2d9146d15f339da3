//! A client of a driver's socket.

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use stead_proto::csi::v1::controller_client::ControllerClient;
use stead_proto::csi::v1::group_controller_client::GroupControllerClient;
use stead_proto::csi::v1::identity_client::IdentityClient;
use stead_proto::csi::v1::node_client::NodeClient;
use stead_proto::csi::v1::*;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoRequest, Response, Status};

/// The procedures of a driver. Every call has a connection of its own, so a client outlives the
/// driver's restarts, and a call that is dropped is gone from the wire.
#[derive(Debug, Clone)]
pub struct Csi {
    socket: PathBuf,
}

macro_rules! procedures {
    ($($client:ident { $($method:ident($request:ident) -> $response:ident;)* })*) => {
        #[allow(missing_docs)] // The procedures are those of the specification.
        impl Csi {
            $($(
                pub async fn $method(
                    &self,
                    request: impl IntoRequest<$request>,
                ) -> Result<$response, Status> {
                    let mut client = $client::new(self.channel().await?);
                    client.$method(request).await.map(Response::into_inner)
                }
            )*)*
        }
    };
}

procedures! {
    IdentityClient {
        get_plugin_info(GetPluginInfoRequest) -> GetPluginInfoResponse;
        get_plugin_capabilities(GetPluginCapabilitiesRequest) -> GetPluginCapabilitiesResponse;
        probe(ProbeRequest) -> ProbeResponse;
    }
    ControllerClient {
        create_volume(CreateVolumeRequest) -> CreateVolumeResponse;
        delete_volume(DeleteVolumeRequest) -> DeleteVolumeResponse;
        controller_publish_volume(ControllerPublishVolumeRequest) -> ControllerPublishVolumeResponse;
        controller_unpublish_volume(ControllerUnpublishVolumeRequest)
            -> ControllerUnpublishVolumeResponse;
        validate_volume_capabilities(ValidateVolumeCapabilitiesRequest)
            -> ValidateVolumeCapabilitiesResponse;
        list_volumes(ListVolumesRequest) -> ListVolumesResponse;
        controller_list_volume_health(ControllerListVolumeHealthRequest)
            -> ControllerListVolumeHealthResponse;
        controller_get_volume_health(ControllerGetVolumeHealthRequest)
            -> ControllerGetVolumeHealthResponse;
        get_capacity(GetCapacityRequest) -> GetCapacityResponse;
        controller_get_capabilities(ControllerGetCapabilitiesRequest)
            -> ControllerGetCapabilitiesResponse;
        create_snapshot(CreateSnapshotRequest) -> CreateSnapshotResponse;
        delete_snapshot(DeleteSnapshotRequest) -> DeleteSnapshotResponse;
        list_snapshots(ListSnapshotsRequest) -> ListSnapshotsResponse;
        get_snapshot(GetSnapshotRequest) -> GetSnapshotResponse;
        controller_expand_volume(ControllerExpandVolumeRequest) -> ControllerExpandVolumeResponse;
        controller_get_volume(ControllerGetVolumeRequest) -> ControllerGetVolumeResponse;
        controller_modify_volume(ControllerModifyVolumeRequest) -> ControllerModifyVolumeResponse;
    }
    GroupControllerClient {
        create_volume_group_snapshot(CreateVolumeGroupSnapshotRequest)
            -> CreateVolumeGroupSnapshotResponse;
        delete_volume_group_snapshot(DeleteVolumeGroupSnapshotRequest)
            -> DeleteVolumeGroupSnapshotResponse;
        get_volume_group_snapshot(GetVolumeGroupSnapshotRequest)
            -> GetVolumeGroupSnapshotResponse;
    }
    NodeClient {
        node_stage_volume(NodeStageVolumeRequest) -> NodeStageVolumeResponse;
        node_unstage_volume(NodeUnstageVolumeRequest) -> NodeUnstageVolumeResponse;
        node_publish_volume(NodePublishVolumeRequest) -> NodePublishVolumeResponse;
        node_unpublish_volume(NodeUnpublishVolumeRequest) -> NodeUnpublishVolumeResponse;
        node_get_volume_stats(NodeGetVolumeStatsRequest) -> NodeGetVolumeStatsResponse;
        node_get_volume_health(NodeGetVolumeHealthRequest) -> NodeGetVolumeHealthResponse;
        node_get_storage_health(NodeGetStorageHealthRequest) -> NodeGetStorageHealthResponse;
        node_expand_volume(NodeExpandVolumeRequest) -> NodeExpandVolumeResponse;
        node_get_capabilities(NodeGetCapabilitiesRequest) -> NodeGetCapabilitiesResponse;
        node_get_info(NodeGetInfoRequest) -> NodeGetInfoResponse;
    }
}

impl Csi {
    /// A client of the socket at a path.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// A volume, or why there is none.
    pub async fn create(
        &self,
        request: impl IntoRequest<CreateVolumeRequest>,
    ) -> Result<Volume, Status> {
        let answer = self.create_volume(request).await?;
        answer.volume.ok_or_else(|| Status::data_loss("an answer without a volume"))
    }

    /// A snapshot, or why there is none.
    pub async fn snapshot(
        &self,
        request: impl IntoRequest<CreateSnapshotRequest>,
    ) -> Result<Snapshot, Status> {
        let answer = self.create_snapshot(request).await?;
        answer.snapshot.ok_or_else(|| Status::data_loss("an answer without a snapshot"))
    }

    /// The ids of all volumes and where each is published.
    pub async fn volumes(&self) -> Result<Vec<(String, Vec<String>)>, Status> {
        let listed = self.list_volumes(ListVolumesRequest::default()).await?;
        let entry = |entry: list_volumes_response::Entry| {
            let id = entry.volume.map(|volume| volume.volume_id).unwrap_or_default();
            (id, entry.status.map(|status| status.published_node_ids).unwrap_or_default())
        };
        Ok(listed.entries.into_iter().map(entry).collect())
    }

    async fn channel(&self) -> Result<Channel, Status> {
        let socket = self.socket.clone();
        let connect = move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        };
        let endpoint = Endpoint::from_static("http://localhost");
        let connected = endpoint.connect_with_connector(tower::service_fn(connect)).await;
        connected.map_err(|error| Status::unavailable(format!("no connection: {error}")))
    }
}
