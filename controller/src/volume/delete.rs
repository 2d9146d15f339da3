//! Deleting a volume: only one that nobody uses, and whole even when a crash comes between.

use stead_model::name::VolumeId;
use stead_model::record::{self, HoldKey, NameIndex, Phase, Record, Volume};
use stead_model::registry::Stored;
use stead_model::{Error, Kind, Result};

use crate::core::Core;

impl Core {
    /// Deletes the volume; an unknown one is success.
    pub(crate) async fn delete_volume(&self, id: &VolumeId) -> Result<()> {
        let volume = match self.any_volume(id).await {
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            volume => volume?,
        };
        self.check_unused(&volume).await?;
        let key = record::volume_key(id);
        let volume = self.registry.change::<Volume>(&key, |volume| {
            volume.phase = Phase::Deleting;
            Ok(())
        });
        let volume = volume.await?;
        self.finish_detach(&volume).await?;
        self.volumes.delete(id).await?;
        self.unbind(&volume).await?;
        let name = record::name_key(Volume::KIND, &volume.name);
        let mine = |index: &NameIndex| Ok(index.id == id.as_str());
        self.registry.remove_if(&name, mine).await?;
        if let HoldKey::Volume(_) = volume.hold_key() {
            // The id is never used again, so nobody will ask for its term.
            self.registry.remove_key(&record::hold_key(&volume.hold_key())).await?;
        }
        self.registry.remove_key(&key).await
    }

    async fn check_unused(&self, volume: &Volume) -> Result<()> {
        let hold = self.hold(&volume.hold_key()).await?;
        let Some((node, _)) = hold.usage(&volume.id) else { return Ok(()) };
        Err(Error::precondition(format!(
            "volume '{}' is published on node '{node}': unpublish it there first",
            volume.id
        )))
    }

    /// Carries out a detach that was decided on before a crash.
    async fn finish_detach(&self, volume: &Stored<Volume>) -> Result<()> {
        let hold = self.hold(&volume.hold_key()).await?;
        let left = hold.unfenced.iter().filter(|(_, id)| *id == volume.id);
        for (node, id) in left {
            self.release(&volume.hold_key(), node, id).await?;
        }
        Ok(())
    }
}
