//! CSI GroupController.

use std::collections::BTreeSet;

use stead_model::name::{GroupSnapshotId, SnapshotId, VolumeId};
use stead_model::operation::Operation;
use stead_model::{Error, Result};
use stead_proto::csi::v1::group_controller_service_capability::rpc::Type;
use stead_proto::csi::v1::group_controller_service_capability::{self, Rpc};
use stead_proto::csi::v1::*;
use stead_proto::request::{check_map, required, required_name};
use tonic::{Request, Response};

use super::{ControllerService, Reply, answer};

fn ids<T: std::str::FromStr<Err = Error> + Ord>(texts: &[String]) -> Result<BTreeSet<T>> {
    texts.iter().map(|text| text.parse()).collect()
}

impl ControllerService {
    fn parse_create_group(
        request: &CreateVolumeGroupSnapshotRequest,
    ) -> Result<(String, BTreeSet<VolumeId>)> {
        let name = required_name("name", &request.name)?;
        let volumes: BTreeSet<VolumeId> = ids(&request.source_volume_ids)?;
        if volumes.is_empty() {
            return Err(Error::invalid("source_volume_ids is missing"));
        }
        check_map("parameters", &request.parameters)?;
        check_map("secrets", &request.secrets)?;
        if let Some(key) =
            request.parameters.keys().find(|key| !key.starts_with("csi.storage.k8s.io/"))
        {
            return Err(Error::invalid(format!("unknown parameter '{key}': there are none")));
        }
        Ok((name, volumes))
    }
}

#[tonic::async_trait]
impl group_controller_server::GroupController for ControllerService {
    async fn group_controller_get_capabilities(
        &self,
        _: Request<GroupControllerGetCapabilitiesRequest>,
    ) -> Reply<GroupControllerGetCapabilitiesResponse> {
        let rpc = Rpc { r#type: Type::CreateDeleteGetVolumeGroupSnapshot.into() };
        let capability = GroupControllerServiceCapability {
            r#type: Some(group_controller_service_capability::Type::Rpc(rpc)),
        };
        Ok(Response::new(GroupControllerGetCapabilitiesResponse { capabilities: vec![capability] }))
    }

    async fn create_volume_group_snapshot(
        &self,
        request: Request<CreateVolumeGroupSnapshotRequest>,
    ) -> Reply<CreateVolumeGroupSnapshotResponse> {
        let parsed = Self::parse_create_group(request.get_ref());
        let (name, volumes) = parsed.map_err(|error| self.refuse(error))?;
        let mut objects = vec![format!("group snapshot name {name}")];
        objects.extend(volumes.iter().map(|volume| format!("volume {volume}")));
        let operation = Operation {
            rpc: "CreateVolumeGroupSnapshot",
            objects,
            arguments: (name.clone(), volumes.clone()),
        };
        let group = self
            .operate(operation, |core| async move { core.create_group(name, volumes).await })
            .await?;
        let group_snapshot = Some(answer::group(&group));
        Ok(Response::new(CreateVolumeGroupSnapshotResponse { group_snapshot }))
    }

    async fn delete_volume_group_snapshot(
        &self,
        request: Request<DeleteVolumeGroupSnapshotRequest>,
    ) -> Reply<DeleteVolumeGroupSnapshotResponse> {
        let request = request.get_ref();
        let id: GroupSnapshotId = required("group_snapshot_id", &request.group_snapshot_id)
            .map_err(|error| self.refuse(error))?;
        check_map("secrets", &request.secrets).map_err(|error| self.refuse(error))?;
        let named: BTreeSet<SnapshotId> =
            ids(&request.snapshot_ids).map_err(|error| self.refuse(error))?;
        let operation = Operation {
            rpc: "DeleteVolumeGroupSnapshot",
            objects: vec![format!("group snapshot {id}")],
            arguments: named.clone(),
        };
        self.operate(operation, |core| async move { core.delete_group(&id, &named).await }).await?;
        Ok(Response::new(DeleteVolumeGroupSnapshotResponse {}))
    }

    async fn get_volume_group_snapshot(
        &self,
        request: Request<GetVolumeGroupSnapshotRequest>,
    ) -> Reply<GetVolumeGroupSnapshotResponse> {
        let request = request.get_ref();
        let read = async {
            let id = required("group_snapshot_id", &request.group_snapshot_id)?;
            self.core.get_group(&id, &ids(&request.snapshot_ids)?).await
        };
        let group = self.read("GetVolumeGroupSnapshot", read).await?;
        let group_snapshot = Some(answer::group(&group));
        Ok(Response::new(GetVolumeGroupSnapshotResponse { group_snapshot }))
    }
}
