//! A node plugin with a pool in a temporary directory, real loop devices and an agent that only counts.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hyper_util::rt::TokioIo;
use stead_model::hold::{Hold, Holder, Stage, Use};
use stead_model::image::{Claim, Layout, TERM_KEY};
use stead_model::name::{Bytes, Epoch, MemberKey, NodeId, Term, VolumeId};
use stead_model::orchestrator::Orchestrator;
use stead_model::port::MemoryStore;
use stead_model::record::{Format, HoldKey, HoldRecord, Phase, Volume, hold_key, volume_key};
use stead_model::registry::Registry;
use stead_node::device::loops::{self, Identity};
use stead_node::mount::table;
use stead_node::{Config, NodeService};
use stead_proto::csi::v1::node_server::Node;
use stead_proto::csi::v1::volume_capability::access_mode::Mode;
use stead_proto::csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use stead_proto::csi::v1::*;
use stead_proto::stead::v1::agent_server::{Agent, AgentServer};
use stead_proto::stead::v1::*;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

pub const NODE: &str = "host-a";
pub const MIB: u64 = 1 << 20;

/// Whether this process may mount. A test that may not says so and counts as passed.
pub fn root() -> bool {
    let root = nix::unistd::geteuid().is_root() && Path::new("/dev/loop-control").exists();
    if !root {
        eprintln!("SKIPPED: this test needs root and loop devices");
    }
    root
}

#[derive(Clone, Default)]
pub struct CountingAgent {
    pub calls: Arc<Mutex<Vec<String>>>,
    pub failing: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl Agent for CountingAgent {
    async fn converge(
        &self,
        request: Request<ConvergeRequest>,
    ) -> Result<Response<ConvergeResponse>, Status> {
        self.calls.lock().unwrap().push(request.into_inner().member);
        if self.failing.load(Ordering::SeqCst) {
            return Err(Status::internal("no interface"));
        }
        Ok(Response::new(ConvergeResponse::default()))
    }

    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(GetStatusResponse::default()))
    }
}

pub struct Rig {
    pub directory: tempfile::TempDir,
    pub store: Arc<MemoryStore>,
    pub registry: Registry,
    pub service: NodeService,
    pub agent: CountingAgent,
    pub layout: Layout,
    config: Config,
}

impl Rig {
    pub async fn new(orchestrator: Orchestrator) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        let layout = Layout::new(base.join("pool"));
        fs::create_dir_all(layout.volumes()).unwrap();
        fs::write(layout.mark(), "{}").unwrap();
        let agent = CountingAgent::default();
        let config = Config {
            node: NODE.parse().unwrap(),
            pool_dir: layout.root().to_owned(),
            state_dir: base.join("state"),
            profile: orchestrator.profile(),
            topology: BTreeMap::from([("topology.stead.dev/zone".into(), "z1".into())]),
            alpha_capabilities: true,
            agent: serve(agent.clone(), base.join("agent.sock")),
        };
        let store = Arc::new(MemoryStore::new());
        let registry = Registry::new(store.clone());
        let service = NodeService::new(config.clone(), registry.clone()).unwrap();
        Self { directory, store, registry, service, agent, layout, config }
    }

    /// As after a restart of the plugin.
    pub fn restart(&mut self) {
        self.service = NodeService::new(self.config.clone(), self.registry.clone()).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    pub fn image(&self, id: &VolumeId) -> PathBuf {
        self.layout.image(id)
    }

    /// A blank volume that this node holds with term 1.
    pub async fn volume(&self, bytes: u64, member: Option<&str>) -> VolumeId {
        let id = VolumeId::fresh();
        fs::create_dir_all(self.layout.volume(&id)).unwrap();
        File::create(self.image(&id)).unwrap().set_len(bytes).unwrap();
        let member = member.map(|name| MemberKey {
            cluster: "prod".parse().unwrap(),
            member: name.parse().unwrap(),
        });
        let volume = Volume {
            id: id.clone(),
            name: id.to_string(),
            phase: Phase::Ready,
            size: Bytes(bytes),
            origin: None,
            parameters: BTreeMap::new(),
            mutable_parameters: BTreeMap::new(),
            context: BTreeMap::new(),
            role: member.as_ref().map(|_| "data".parse().unwrap()),
            member,
            topology: BTreeMap::new(),
            format: Format::Never,
        };
        self.registry.create(volume).await.unwrap();
        self.give(&id, NODE, 1).await;
        id
    }

    /// Makes a node the holder, as the controller does.
    pub async fn give(&self, id: &VolumeId, node: &str, term: u64) {
        let node: NodeId = node.parse().unwrap();
        let claim = Claim { node: Some(node.clone()), term: Term(term) };
        fs::write(self.layout.claim(id), serde_json::to_vec(&claim).unwrap()).unwrap();
        let usage = Use { stage: Stage::Attached, readonly: false, access: "x".into() };
        let volumes = BTreeMap::from([(id.clone(), usage)]);
        let holder = Some(Holder { node, epoch: Epoch(1), volumes });
        let of = self.record(id).await.hold_key();
        self.registry.remove_key(&hold_key(&of)).await.unwrap();
        let hold = Hold { term: Term(term), holder, ..Hold::default() };
        self.registry.create(HoldRecord { of, hold }).await.unwrap();
    }

    pub async fn record(&self, id: &VolumeId) -> Volume {
        self.registry.require::<Volume>(&volume_key(id)).await.unwrap().decoded.record
    }

    pub async fn set_format(&self, id: &VolumeId, format: Format) {
        self.edit(id, |volume| volume.format = format.clone()).await;
    }

    pub async fn set_parameter(&self, id: &VolumeId, key: &str, value: &str) {
        self.edit(id, |volume| drop(volume.parameters.insert(key.to_owned(), value.to_owned())))
            .await;
    }

    async fn edit(&self, id: &VolumeId, edit: impl Fn(&mut Volume) + Send + Sync) {
        let key = volume_key(id);
        let edited = self.registry.change::<Volume>(&key, |volume| {
            edit(volume);
            Ok(())
        });
        edited.await.unwrap();
    }

    pub async fn reached(&self, id: &VolumeId) -> Option<Stage> {
        let of: HoldKey = self.record(id).await.hold_key();
        let record = self.registry.require::<HoldRecord>(&hold_key(&of)).await.unwrap();
        record.hold.usage(id).map(|(_, usage)| usage.stage)
    }

    pub fn converged(&self) -> usize {
        self.agent.calls.lock().unwrap().len()
    }

    pub async fn stage(&self, id: &VolumeId, how: &How) -> Result<(), Status> {
        let request = NodeStageVolumeRequest {
            volume_id: id.to_string(),
            publish_context: how.context(),
            staging_target_path: self.path("staging").display().to_string(),
            volume_capability: Some(how.capability()),
            ..Default::default()
        };
        self.service.node_stage_volume(Request::new(request)).await.map(drop)
    }

    pub async fn publish(&self, id: &VolumeId, target: &str, how: &How) -> Result<(), Status> {
        let request = NodePublishVolumeRequest {
            volume_id: id.to_string(),
            publish_context: how.context(),
            staging_target_path: self.path("staging").display().to_string(),
            target_path: self.path(target).display().to_string(),
            volume_capability: Some(how.capability()),
            readonly: how.readonly,
            ..Default::default()
        };
        self.service.node_publish_volume(Request::new(request)).await.map(drop)
    }

    pub async fn unpublish(&self, id: &VolumeId, target: &str) -> Result<(), Status> {
        let request = NodeUnpublishVolumeRequest {
            volume_id: id.to_string(),
            target_path: self.path(target).display().to_string(),
        };
        self.service.node_unpublish_volume(Request::new(request)).await.map(drop)
    }

    pub async fn unstage(&self, id: &VolumeId) -> Result<(), Status> {
        let request = NodeUnstageVolumeRequest {
            volume_id: id.to_string(),
            staging_target_path: self.path("staging").display().to_string(),
        };
        self.service.node_unstage_volume(Request::new(request)).await.map(drop)
    }

    pub async fn stats(&self, id: &str, path: &str) -> Result<Vec<VolumeUsage>, Status> {
        let request = NodeGetVolumeStatsRequest {
            volume_id: id.to_owned(),
            volume_path: path.to_owned(),
            ..Default::default()
        };
        let response = self.service.node_get_volume_stats(Request::new(request)).await;
        response.map(|response| response.into_inner().usage)
    }

    /// How many loop devices an image has.
    pub fn devices(&self, id: &VolumeId) -> usize {
        let identity = Identity::of(&self.image(id)).unwrap();
        loops::list().unwrap().iter().filter(|device| device.identity == identity).count()
    }

    /// Whether the kernel lets go of the devices soon: another test may be looking at them just now.
    pub async fn device_goes(&self, id: &VolumeId) -> bool {
        for _ in 0..100 {
            if self.devices(id) == 0 {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        false
    }

    pub fn mounted(&self, name: &str) -> bool {
        table::at(&self.path(name)).unwrap().is_some()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let base = self.directory.path().canonicalize().unwrap();
        for mount in table::read().unwrap().into_iter().rev() {
            if mount.path.starts_with(&base) {
                let lazily = nix::mount::MntFlags::MNT_DETACH;
                let _ = nix::mount::umount2(&mount.path, lazily);
            }
        }
        let entries = fs::read_dir(self.layout.volumes()).unwrap().filter_map(Result::ok);
        let images: Vec<_> =
            entries.filter_map(|it| Identity::of(&it.path().join("image")).ok()).collect();
        for device in loops::list().unwrap() {
            if images.contains(&device.identity) {
                let _ = loops::clear(device);
            }
        }
    }
}

/// How a volume is asked for.
#[derive(Clone)]
pub struct How {
    pub fs: &'static str,
    pub block: bool,
    pub readonly: bool,
    pub term: u64,
    pub mode: Mode,
    pub flags: Vec<String>,
    pub group: String,
}

impl How {
    pub fn fs(fs: &'static str) -> Self {
        Self {
            fs,
            block: false,
            readonly: false,
            term: 1,
            mode: Mode::SingleNodeWriter,
            flags: Vec::new(),
            group: String::new(),
        }
    }

    pub fn block() -> Self {
        Self { block: true, ..Self::fs("") }
    }

    fn context(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(TERM_KEY.to_owned(), self.term.to_string())])
    }

    pub fn capability(&self) -> VolumeCapability {
        let mount = MountVolume {
            fs_type: self.fs.to_owned(),
            mount_flags: self.flags.clone(),
            volume_mount_group: self.group.clone(),
        };
        let access_type =
            if self.block { AccessType::Block(BlockVolume {}) } else { AccessType::Mount(mount) };
        let access_mode = Some(AccessMode { mode: self.mode.into() });
        VolumeCapability { access_mode, access_type: Some(access_type) }
    }
}

fn serve(agent: CountingAgent, socket: PathBuf) -> Channel {
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let server = Server::builder().add_service(AgentServer::new(agent));
    tokio::spawn(server.serve_with_incoming(incoming));
    let connect = move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    };
    Endpoint::from_static("http://agent").connect_with_connector_lazy(tower::service_fn(connect))
}
