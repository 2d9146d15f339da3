//! The procedures of CSI Node, one file for each group.
//!
//! A handler reads its request, runs the work as an operation on the volume and answers. The work
//! reads the truth first, then the store is told what is about to happen, then it happens: a crash in
//! between is made good by the repeat of the call.

mod close;
mod expand;
mod health;
mod hold;
mod info;
mod open;
mod publish;
mod reconcile;
mod request;
mod rpc;
mod stage;
mod stats;
mod unpublish;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use stead_model::name::{NodeId, VolumeId};
use stead_model::operation::Operations;
use stead_model::orchestrator::Profile;
use stead_model::registry::Registry;
use tonic::transport::Channel;

use crate::device::{DeviceFinder, Pool};
use crate::error::Result;
use crate::state::StateStore;

/// What a node plugin has to be told.
#[derive(Clone)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Where this host has the pool mounted.
    pub pool_dir: PathBuf,
    /// Where this plugin keeps its own files; it survives a restart of the plugin.
    pub state_dir: PathBuf,
    /// How to behave towards the orchestrator.
    pub profile: Profile,
    /// Where this node is: topology segments.
    pub topology: BTreeMap<String, String>,
    /// Whether to advertise capabilities that the specification calls alpha.
    pub alpha_capabilities: bool,
    /// The way to this host's network agent.
    pub agent: Channel,
}

/// CSI Node.
#[derive(Clone)]
pub struct NodeService {
    host: Arc<Host>,
    operations: Operations,
}

/// What every procedure works with.
struct Host {
    config: Config,
    registry: Registry,
    devices: Arc<dyn DeviceFinder>,
    states: StateStore,
}

impl NodeService {
    /// The service of this node, with the volumes of a pool.
    pub fn new(config: Config, registry: Registry) -> Result<Self> {
        let devices = Arc::new(Pool::new(config.node.clone(), config.pool_dir.clone()));
        Self::with_devices(config, registry, devices)
    }

    /// The service of this node, with the volumes of any back end.
    pub fn with_devices(
        config: Config,
        registry: Registry,
        devices: Arc<dyn DeviceFinder>,
    ) -> Result<Self> {
        let states = StateStore::open(&config.state_dir)?;
        let host = Arc::new(Host { config, registry, devices, states });
        Ok(Self { host, operations: Operations::default() })
    }

    /// The operations under way, to wait for before the process ends.
    pub fn operations(&self) -> &Operations {
        &self.operations
    }

    /// Brings what is left from before a restart in line with the store: to be called once, before the
    /// first request is served. What cannot be mended is logged and left for the orchestrator.
    pub async fn reconcile(&self) -> Result<()> {
        self.host.reconcile().await
    }
}

impl Host {
    /// Where a volume is mounted for an orchestrator that does not stage. Callers looked the id up in
    /// the store before.
    fn internal_mount(&self, volume: &VolumeId) -> PathBuf {
        self.config.state_dir.join("mounts").join(volume.as_str())
    }
}
