//! A volume's way through its life, as an orchestrator leads it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use stead_proto::csi::v1::*;
use tonic::Status;

use crate::{Csi, Driver, ask};

/// A volume, and how it is used on one node.
#[derive(Debug)]
pub struct Life {
    /// The volume.
    pub volume: Volume,
    /// How it is used.
    pub capability: VolumeCapability,
    /// Whether the workload may not write.
    pub readonly: bool,
    /// The node that uses it.
    pub node: String,
    /// Where it is staged.
    pub staging: PathBuf,
    /// Where the workload has it.
    pub target: PathBuf,
    context: Mutex<BTreeMap<String, String>>,
    controller: Csi,
    host: Csi,
}

impl Life {
    /// Makes a volume and leads it on the driver's own node.
    pub async fn create(driver: &Driver, request: CreateVolumeRequest) -> Result<Self, Status> {
        let capability = request.volume_capabilities.first().cloned().unwrap_or_else(ask::mount);
        let volume = driver.csi().create(request).await?;
        Ok(Self::of(driver, driver, volume, capability))
    }

    /// Leads a volume of `driver` on the node of `host`.
    pub fn of(
        driver: &Driver,
        host: &Driver,
        volume: Volume,
        capability: VolumeCapability,
    ) -> Self {
        let staging = host.path(&format!("staging-{}", volume.volume_id));
        let target = host.path(&format!("targets-{}", volume.volume_id)).join("target");
        // The orchestrator makes the staging path and the directory of the target path, no more.
        for made in [Some(staging.as_path()), target.parent()].into_iter().flatten() {
            if let Err(error) = fs::create_dir_all(made) {
                panic!("{} cannot be made: {error}", made.display());
            }
        }
        Self {
            volume,
            capability,
            readonly: false,
            node: host.node.clone(),
            staging,
            target,
            context: Mutex::default(),
            controller: driver.csi(),
            host: host.csi(),
        }
    }

    /// The id of the volume.
    pub fn id(&self) -> String {
        self.volume.volume_id.clone()
    }

    /// What the last publish answered.
    pub fn publish_context(&self) -> BTreeMap<String, String> {
        self.context.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The term of the last publish.
    pub fn term(&self) -> u64 {
        let context = self.publish_context();
        let term = context.get(stead_model::image::TERM_KEY).and_then(|term| term.parse().ok());
        match term {
            Some(term) => term,
            None => panic!("publish_context has no term: {context:?}"),
        }
    }

    /// What `ControllerPublishVolume` is asked.
    pub fn publish_request(&self) -> ControllerPublishVolumeRequest {
        ControllerPublishVolumeRequest {
            volume_id: self.id(),
            node_id: self.node.clone(),
            volume_capability: Some(self.capability.clone()),
            readonly: self.readonly,
            volume_context: self.volume.volume_context.clone(),
            ..Default::default()
        }
    }

    /// What `NodeStageVolume` is asked.
    pub fn stage_request(&self) -> NodeStageVolumeRequest {
        NodeStageVolumeRequest {
            volume_id: self.id(),
            publish_context: self.publish_context(),
            staging_target_path: self.staging.display().to_string(),
            volume_capability: Some(self.capability.clone()),
            volume_context: self.volume.volume_context.clone(),
            ..Default::default()
        }
    }

    /// What `NodePublishVolume` is asked.
    pub fn node_publish_request(&self) -> NodePublishVolumeRequest {
        NodePublishVolumeRequest {
            volume_id: self.id(),
            publish_context: self.publish_context(),
            staging_target_path: self.staging.display().to_string(),
            target_path: self.target.display().to_string(),
            volume_capability: Some(self.capability.clone()),
            readonly: self.readonly,
            volume_context: self.volume.volume_context.clone(),
            ..Default::default()
        }
    }

    /// Publishes it to the node.
    pub async fn publish(&self) -> Result<(), Status> {
        let answer = self.controller.controller_publish_volume(self.publish_request()).await?;
        *self.context.lock().unwrap_or_else(PoisonError::into_inner) = answer.publish_context;
        Ok(())
    }

    /// Stages it.
    pub async fn stage(&self) -> Result<(), Status> {
        self.host.node_stage_volume(self.stage_request()).await.map(drop)
    }

    /// Gives it to the workload.
    pub async fn node_publish(&self) -> Result<(), Status> {
        self.host.node_publish_volume(self.node_publish_request()).await.map(drop)
    }

    /// Takes it from the workload.
    pub async fn node_unpublish(&self) -> Result<(), Status> {
        let target_path = self.target.display().to_string();
        let request = NodeUnpublishVolumeRequest { volume_id: self.id(), target_path };
        self.host.node_unpublish_volume(request).await.map(drop)
    }

    /// Takes it from the staging path.
    pub async fn unstage(&self) -> Result<(), Status> {
        let staging_target_path = self.staging.display().to_string();
        let request = NodeUnstageVolumeRequest { volume_id: self.id(), staging_target_path };
        self.host.node_unstage_volume(request).await.map(drop)
    }

    /// Takes it from the node.
    pub async fn unpublish(&self) -> Result<(), Status> {
        let request = ControllerUnpublishVolumeRequest {
            volume_id: self.id(),
            node_id: self.node.clone(),
            ..Default::default()
        };
        self.controller.controller_unpublish_volume(request).await.map(drop)
    }

    /// Deletes it.
    pub async fn delete(&self) -> Result<(), Status> {
        self.controller.delete_volume(ask::delete(self.id())).await.map(drop)
    }

    /// Brings it to the workload.
    pub async fn up(&self) -> Result<(), Status> {
        self.publish().await?;
        self.stage().await?;
        self.node_publish().await
    }

    /// Takes it from the workload and from the node.
    pub async fn down(&self) -> Result<(), Status> {
        self.node_unpublish().await?;
        self.unstage().await?;
        self.unpublish().await
    }

    /// Ends its life.
    pub async fn end(&self) -> Result<(), Status> {
        self.down().await?;
        self.delete().await
    }
}
