//! Making a volume, with the identity that it carries from then on.

use std::collections::BTreeMap;

use stead_model::identity::{self, Request, Sorted};
use stead_model::name::{Bytes, VolumeId};
use stead_model::port::{Source, VolumeRequest};
use stead_model::record::{self, Format, NameIndex, Origin, Phase, Record, Snapshot, Volume};
use stead_model::registry::Stored;
use stead_model::{Error, Kind, Result};
use stead_proto::request::SizeRange;
use tracing::Span;

use crate::core::{Core, no_volume};
use crate::progress::told;
use crate::snapshot::inherited;

/// The size of a volume for which none is asked.
const SIZE_DEFAULT: Bytes = Bytes::GIB;

/// A volume that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Create {
    pub(crate) name: String,
    pub(crate) range: SizeRange,
    pub(crate) origin: Option<Origin>,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) mutable_parameters: BTreeMap<String, String>,
    /// The topologies of which one must do; empty for any.
    pub(crate) requisite: Vec<BTreeMap<String, String>>,
}

/// A request whose every part was found good.
struct Plan {
    size: Bytes,
    format: Format,
    identity: Option<Request>,
    backend: BTreeMap<String, String>,
}

impl Core {
    /// Makes the volume, or completes or returns the one of that name.
    pub(crate) async fn create_volume(&self, create: Create) -> Result<Stored<Volume>> {
        let plan = self.plan(&create).await?;
        let index = NameIndex {
            of: Volume::KIND.to_owned(),
            name: create.name.clone(),
            id: VolumeId::fresh().to_string(),
        };
        let index = self.registry.get_or_create(index).await?;
        let id: VolumeId = index.id.parse()?;
        Span::current().record("volume", id.as_str());
        let known = self.registry.get::<Volume>(&record::volume_key(&id)).await?;
        if let Some(known) = &known {
            check_same(known, &create)?;
            if known.phase == Phase::Ready {
                return self.registry.require(&record::volume_key(&id)).await;
            }
        }
        match self.make(&id, &create, &plan).await {
            Err(error) if is_final(&error) => {
                self.unmake(&id, &index, &plan).await?;
                Err(error)
            }
            made => made,
        }
    }

    async fn plan(&self, create: &Create) -> Result<Plan> {
        let sorted = Sorted::new(&create.parameters)?;
        let identity = sorted.identity(self.config.profile.hint, &create.name)?;
        let member = identity.as_ref().map(|identity| identity.member.to_string());
        Span::current().record("member", member);
        let mut backend = sorted.backend;
        backend.extend(create.mutable_parameters.clone());
        self.volumes.check(&backend)?;
        if !create.requisite.is_empty() && !create.requisite.iter().any(|t| self.reaches(t)) {
            return Err(Error::exhausted(format!(
                "the volumes of this back end are reached from {:?} alone, which the request does not allow",
                self.volumes.topology()
            )));
        }
        let (least, format) = self.origin(create.origin.as_ref()).await?;
        let size = create.range.pick(SIZE_DEFAULT.max(least));
        if size < least {
            return Err(Error::out_of_range(format!(
                "{size} bytes are less than the {least} of the source: ask for that at least"
            )));
        }
        Ok(Plan { size, format, identity, backend })
    }

    /// The size and the format that the content comes with.
    async fn origin(&self, origin: Option<&Origin>) -> Result<(Bytes, Format)> {
        match origin {
            None => Ok((Bytes(0), Format::Never)),
            Some(Origin::Volume(id)) => {
                let volume = self.ready_volume(id).await?;
                Ok((volume.size, inherited(&volume.format)))
            }
            Some(Origin::Snapshot(id)) => {
                let snapshot = self.registry.get::<Snapshot>(&record::snapshot_key(id)).await?;
                let snapshot = snapshot
                    .filter(|snapshot| snapshot.phase == Phase::Ready)
                    .ok_or_else(|| Error::not_found(format!("there is no snapshot '{id}'")))?;
                Ok((snapshot.size, inherited(&snapshot.format)))
            }
        }
    }

    async fn make(&self, id: &VolumeId, create: &Create, plan: &Plan) -> Result<Stored<Volume>> {
        let mut volume = Volume {
            id: id.clone(),
            name: create.name.clone(),
            phase: Phase::Creating,
            size: plan.size,
            origin: create.origin.clone(),
            parameters: create.parameters.clone(),
            mutable_parameters: create.mutable_parameters.clone(),
            context: BTreeMap::new(),
            member: plan.identity.as_ref().map(|identity| identity.member.clone()),
            role: plan.identity.as_ref().map(|identity| identity.role.clone()),
            topology: self.volumes.topology(),
            format: plan.format.clone(),
        };
        if let Some(identity) = &plan.identity {
            let member = self.bind(identity, id).await?;
            volume.context = identity::context(&member, &identity.role);
        }
        let key = record::volume_key(id);
        self.registry.get_or_create(volume).await?;
        let request = VolumeRequest {
            id: id.clone(),
            size: plan.size,
            source: create.origin.clone().map(|origin| match origin {
                Origin::Volume(id) => Source::Volume(id),
                Origin::Snapshot(id) => Source::Snapshot(id),
            }),
            parameters: plan.backend.clone(),
        };
        let request = &request;
        let size =
            told(|progress| async move { self.volumes.create(request, &progress).await }).await?;
        if !create.range.contains(size) {
            self.volumes.delete(id).await?;
            return Err(Error::out_of_range(format!(
                "the back end makes {size} bytes of the {} asked for, beyond the limit: ask for a multiple of 4096",
                plan.size
            )));
        }
        let ready = self.registry.change::<Volume>(&key, |volume| {
            volume.phase = Phase::Ready;
            volume.size = size;
            Ok(())
        });
        ready.await
    }

    /// Takes back what a request that can never succeed has left.
    async fn unmake(&self, id: &VolumeId, index: &Stored<NameIndex>, plan: &Plan) -> Result<()> {
        if let Some(identity) = &plan.identity {
            self.unbind_role(&identity.member, &identity.role, id).await?;
        }
        // A crash may have come between the image and the end of an earlier request of that name.
        self.volumes.delete(id).await?;
        self.registry.remove_key(&record::volume_key(id)).await?;
        self.registry.remove(index).await
    }
}

/// Whether a repeat of the same request could not end otherwise while nothing else changes.
fn is_final(error: &Error) -> bool {
    !matches!(error.kind(), Kind::Unavailable | Kind::Busy | Kind::Conflict | Kind::Corrupt)
}

/// Whether the volume of that name is the one that is asked for (CSI, "CreateVolume": a name is an
/// idempotency token).
fn check_same(volume: &Volume, create: &Create) -> Result<()> {
    let differs = |what: &str| {
        Err(Error::already_exists(format!(
            "volume '{}' exists with another {what}: use another name, or ask for the same",
            create.name
        )))
    };
    match volume.phase {
        Phase::Deleting => {
            return Err(Error::busy(format!("volume '{}' is being deleted", create.name)));
        }
        Phase::Creating | Phase::Ready => {}
    }
    if volume.origin != create.origin {
        return differs("content source");
    }
    if volume.phase == Phase::Ready && !create.range.contains(volume.size) {
        return differs("size");
    }
    if volume.parameters != create.parameters {
        return differs("set of parameters");
    }
    if volume.phase == Phase::Creating && volume.mutable_parameters != create.mutable_parameters {
        return differs("set of mutable parameters");
    }
    Ok(())
}

impl Core {
    /// The record of a volume in any phase, for procedures that end what a crash left.
    pub(crate) async fn any_volume(&self, id: &VolumeId) -> Result<Stored<Volume>> {
        let volume = self.registry.get::<Volume>(&record::volume_key(id)).await?;
        volume.ok_or_else(|| no_volume(id))
    }
}
