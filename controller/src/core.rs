//! What every procedure of the controller works with.

use std::sync::Arc;
use std::time::Duration;

use stead_model::name::{DomainName, VolumeId};
use stead_model::operation::Operations;
use stead_model::orchestrator::Profile;
use stead_model::port::{AddressBackend, DnsBackend, Volumes};
use stead_model::record::{self, Phase, Volume};
use stead_model::registry::{Registry, Stored};
use stead_model::{Error, Result};

use crate::lease::Leases;
use crate::member::MemberLocks;

/// How the controller behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The plugin's name (CSI, `GetPluginInfo`): at most 63 characters, a letter at both ends.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// The ways of the orchestrator.
    pub profile: Profile,
    /// The zone below which each cluster has its own.
    pub zone: DomainName,
    /// Whether to advertise what the specification calls alpha.
    pub alpha_capabilities: bool,
    /// How long beyond the end of a lease nobody takes over.
    pub grace: Duration,
}

/// The store, the back ends and what is under way.
#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) config: Arc<Config>,
    pub(crate) registry: Registry,
    pub(crate) volumes: Arc<dyn Volumes>,
    pub(crate) addresses: Arc<dyn AddressBackend>,
    pub(crate) names: Arc<dyn DnsBackend>,
    pub(crate) leases: Leases,
    pub(crate) operations: Operations,
    pub(crate) members: MemberLocks,
}

impl Core {
    /// The record of a volume that can be used; [`Kind::NotFound`](stead_model::Kind) before it is
    /// whole and once it is being deleted.
    pub(crate) async fn ready_volume(&self, id: &VolumeId) -> Result<Stored<Volume>> {
        let volume = self.registry.get::<Volume>(&record::volume_key(id)).await?;
        volume.filter(|volume| volume.phase == Phase::Ready).ok_or_else(|| no_volume(id))
    }

    /// Whether a topology that somebody can reach includes the back end's: it has all its segments.
    pub(crate) fn reaches(&self, segments: &std::collections::BTreeMap<String, String>) -> bool {
        let here = self.volumes.topology();
        here.iter().all(|(key, value)| segments.get(key) == Some(value))
    }
}

pub(crate) fn no_volume(id: &VolumeId) -> Error {
    Error::not_found(format!("there is no volume '{id}'"))
}
