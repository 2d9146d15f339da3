//! A minimal orchestrator: the calls of a volume's life in the specification's order, each repeated
//! as an orchestrator repeats it.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stead_model::{Error, Result};
use stead_proto::csi::v1::controller_client::ControllerClient;
use stead_proto::csi::v1::identity_client::IdentityClient;
use stead_proto::csi::v1::node_client::NodeClient;
use stead_proto::csi::v1::volume_capability::access_mode::Mode;
use stead_proto::csi::v1::volume_capability::{AccessMode, AccessType, MountVolume};
use stead_proto::csi::v1::{
    CapacityRange, ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest,
    CreateVolumeRequest, DeleteVolumeRequest, NodePublishVolumeRequest, NodeStageVolumeRequest,
    NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest, ProbeRequest, VolumeCapability,
};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

/// How long one call may take before it is repeated.
const CALL: Duration = Duration::from_secs(30);

/// The first pause between two repeats, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];

/// A file system volume with one writer.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The handle.
    pub id: String,
    /// The immutable context.
    pub context: BTreeMap<String, String>,
    capability: VolumeCapability,
}

impl Claim {
    /// A word of the context, such as `static-ip`.
    pub fn identity(&self, word: &str) -> Result<&str> {
        let key = format!("stead.dev/{word}");
        let value = self.context.get(&key).map(String::as_str);
        value.ok_or_else(|| Error::corrupt(format!("the volume's context has no {key}")))
    }
}

/// What volume to make.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// The name.
    pub name: &'a str,
    /// The size in bytes.
    pub size: i64,
    /// The file system; empty for the driver's choice.
    pub file_system: &'a str,
    /// The parameters.
    pub parameters: Vec<(&'a str, &'a str)>,
}

/// Where a node mounts a volume.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Where it is staged.
    pub staging: PathBuf,
    /// Where the workload has it.
    pub target: PathBuf,
}

/// The controller's side.
#[derive(Debug, Clone)]
pub struct Controller {
    client: ControllerClient<Channel>,
    patience: Duration,
}

/// The side of one node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its id.
    pub id: String,
    client: NodeClient<Channel>,
    patience: Duration,
}

impl Controller {
    /// The controller behind a socket. Every call is repeated for `patience` at most.
    pub fn new(socket: &Path, patience: Duration) -> Result<Self> {
        Ok(Self { client: ControllerClient::new(channel(socket)?), patience })
    }

    /// Makes a volume.
    pub async fn create(&self, wish: &Wish<'_>) -> Result<Claim> {
        let kind = MountVolume { fs_type: wish.file_system.to_owned(), ..MountVolume::default() };
        let capability = VolumeCapability {
            access_type: Some(AccessType::Mount(kind)),
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        };
        let parameters = wish.parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let request = CreateVolumeRequest {
            name: wish.name.to_owned(),
            capacity_range: Some(CapacityRange { required_bytes: wish.size, limit_bytes: 0 }),
            volume_capabilities: vec![capability.clone()],
            parameters: parameters.collect(),
            ..CreateVolumeRequest::default()
        };
        let call = || async { self.client.clone().create_volume(request.clone()).await };
        let volume = repeat("CreateVolume", self.patience, call).await?.volume;
        let volume = volume.ok_or_else(|| Error::corrupt("CreateVolume answered no volume"))?;
        Ok(Claim { id: volume.volume_id, context: volume.volume_context, capability })
    }

    /// Gives a volume to a node; the context for its node calls.
    pub async fn publish(&self, claim: &Claim, node: &str) -> Result<BTreeMap<String, String>> {
        let request = ControllerPublishVolumeRequest {
            volume_id: claim.id.clone(),
            node_id: node.to_owned(),
            volume_capability: Some(claim.capability.clone()),
            volume_context: claim.context.clone(),
            ..ControllerPublishVolumeRequest::default()
        };
        let call =
            || async { self.client.clone().controller_publish_volume(request.clone()).await };
        Ok(repeat("ControllerPublishVolume", self.patience, call).await?.publish_context)
    }

    /// Takes a volume away from a node.
    pub async fn unpublish(&self, claim: &Claim, node: &str) -> Result<()> {
        let request = ControllerUnpublishVolumeRequest {
            volume_id: claim.id.clone(),
            node_id: node.to_owned(),
            ..ControllerUnpublishVolumeRequest::default()
        };
        let call =
            || async { self.client.clone().controller_unpublish_volume(request.clone()).await };
        repeat("ControllerUnpublishVolume", self.patience, call).await.map(drop)
    }

    /// Deletes a volume.
    pub async fn delete(&self, claim: &Claim) -> Result<()> {
        let request =
            DeleteVolumeRequest { volume_id: claim.id.clone(), ..DeleteVolumeRequest::default() };
        let call = || async { self.client.clone().delete_volume(request.clone()).await };
        repeat("DeleteVolume", self.patience, call).await.map(drop)
    }
}

impl Node {
    /// The node plugin behind a socket. Every call is repeated for `patience` at most.
    pub fn new(id: &str, socket: &Path, patience: Duration) -> Result<Self> {
        Ok(Self { id: id.to_owned(), client: NodeClient::new(channel(socket)?), patience })
    }

    /// Stages and publishes a volume.
    pub async fn mount(
        &self,
        claim: &Claim,
        publish_context: &BTreeMap<String, String>,
        paths: &Paths,
    ) -> Result<()> {
        let staging = text(&paths.staging)?;
        let stage = NodeStageVolumeRequest {
            volume_id: claim.id.clone(),
            publish_context: publish_context.clone(),
            staging_target_path: staging.clone(),
            volume_capability: Some(claim.capability.clone()),
            volume_context: claim.context.clone(),
            ..NodeStageVolumeRequest::default()
        };
        let publish = NodePublishVolumeRequest {
            volume_id: claim.id.clone(),
            publish_context: publish_context.clone(),
            staging_target_path: staging,
            target_path: text(&paths.target)?,
            volume_capability: Some(claim.capability.clone()),
            volume_context: claim.context.clone(),
            ..NodePublishVolumeRequest::default()
        };
        let call = || async { self.client.clone().node_stage_volume(stage.clone()).await };
        repeat("NodeStageVolume", self.patience, call).await?;
        let call = || async { self.client.clone().node_publish_volume(publish.clone()).await };
        repeat("NodePublishVolume", self.patience, call).await.map(drop)
    }

    /// Unpublishes and unstages a volume.
    pub async fn unmount(&self, claim: &Claim, paths: &Paths) -> Result<()> {
        let unpublish = NodeUnpublishVolumeRequest {
            volume_id: claim.id.clone(),
            target_path: text(&paths.target)?,
        };
        let unstage = NodeUnstageVolumeRequest {
            volume_id: claim.id.clone(),
            staging_target_path: text(&paths.staging)?,
        };
        let call = || async { self.client.clone().node_unpublish_volume(unpublish.clone()).await };
        repeat("NodeUnpublishVolume", self.patience, call).await?;
        let call = || async { self.client.clone().node_unstage_volume(unstage.clone()).await };
        repeat("NodeUnstageVolume", self.patience, call).await.map(drop)
    }
}

/// Waits until the driver behind a socket says that it is ready.
pub async fn ready(socket: &Path, patience: Duration) -> Result<()> {
    let client = IdentityClient::new(channel(socket)?);
    let deadline = Instant::now() + patience;
    loop {
        let probe =
            repeat("Probe", patience, || async { client.clone().probe(ProbeRequest {}).await });
        if probe.await?.ready.unwrap_or(true) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let message = format!("{} is not ready after {patience:?}", socket.display());
            return Err(Error::unavailable(message));
        }
        tokio::time::sleep(PAUSES[0]).await;
    }
}

/// A channel to a UNIX socket; it connects when it is used, and again whenever it has to.
pub fn channel(socket: &Path) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", text(socket)?));
    let endpoint = endpoint.map_err(|error| {
        Error::invalid(format!("{} is no socket's name", socket.display())).because(error)
    })?;
    Ok(endpoint.connect_lazy())
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::invalid(format!("{} is not UTF-8", path.display())))
}

/// Whether an orchestrator repeats the call: the codes by which the driver asks for it, and every
/// way in which a connection breaks, which unlike an answer has a cause.
fn asks_for_a_repeat(status: &Status) -> bool {
    let codes =
        [Code::Aborted, Code::FailedPrecondition, Code::Unavailable, Code::DeadlineExceeded];
    codes.contains(&status.code()) || std::error::Error::source(status).is_some()
}

async fn repeat<T, F>(rpc: &str, patience: Duration, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let deadline = Instant::now() + patience;
    let mut pause = PAUSES[0];
    loop {
        let status = match tokio::time::timeout(CALL, call()).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded(format!("no answer within {CALL:?}")),
        };
        if !asks_for_a_repeat(&status) || Instant::now() > deadline {
            let message = format!("{rpc}: {:?}: {}", status.code(), status.message());
            return Err(Error::new(stead_proto::status::error(&status).kind(), message));
        }
        // Jitter: volumes that failed together shall not come back together.
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(PAUSES[1]);
    }
}
