//! Growing a volume and changing its mutable parameters.

use std::collections::BTreeMap;

use stead_model::name::{Bytes, VolumeId};
use stead_model::record::{self, Volume};
use stead_model::{Error, Result};
use stead_proto::request::SizeRange;

use crate::core::Core;

impl Core {
    /// Grows the volume into the range and returns its size. One that is large enough stays.
    pub(crate) async fn expand(&self, id: &VolumeId, range: SizeRange) -> Result<Bytes> {
        let volume = self.ready_volume(id).await?;
        if let Some(limit) = range.limit.filter(|limit| *limit < volume.size) {
            return Err(Error::out_of_range(format!(
                "volume '{id}' has {} bytes, above the limit of {limit}: a volume never shrinks",
                volume.size
            )));
        }
        let wanted = range.required.unwrap_or(volume.size).max(volume.size);
        let size = self.volumes.expand(id, wanted).await?;
        if range.limit.is_some_and(|limit| size > limit) {
            return Err(Error::out_of_range(format!(
                "the back end made {size} bytes of the {wanted} asked for: ask for a multiple of 4096"
            )));
        }
        let key = record::volume_key(id);
        let grown = self.registry.change::<Volume>(&key, |volume| {
            volume.size = volume.size.max(size);
            Ok(())
        });
        Ok(grown.await?.size)
    }

    /// Changes mutable parameters, all or none; an absent key keeps its value.
    pub(crate) async fn modify(
        &self,
        id: &VolumeId,
        parameters: BTreeMap<String, String>,
    ) -> Result<()> {
        self.ready_volume(id).await?;
        if parameters.is_empty() {
            return Ok(());
        }
        self.volumes.modify(id, &parameters).await?;
        let key = record::volume_key(id);
        let modified = self.registry.change::<Volume>(&key, |volume| {
            volume.mutable_parameters.extend(parameters.clone());
            Ok(())
        });
        modified.await.map(drop)
    }
}
