//! Volumes, page by page, with the nodes they are published to.

use stead_model::Result;
use stead_model::name::{NodeId, VolumeId};
use stead_model::record::{self, Phase, Volume};

use crate::core::Core;
use crate::page::{self, Paged};

/// A volume and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) volume: Volume,
    pub(crate) node: Option<NodeId>,
}

impl Core {
    /// The volumes behind `after` in the order of their ids, `limit` at most (0 for all). A volume
    /// that comes or goes between two pages moves no other.
    pub(crate) async fn list_volumes(
        &self,
        after: Option<&VolumeId>,
        limit: usize,
    ) -> Result<Paged<Listed>> {
        let after = after.map(record::volume_key);
        let page = page::collect(limit, after, |page| self.registry.list::<Volume>(page)).await?;
        let mut listed = Vec::new();
        for volume in page.items.into_iter() {
            let node = self.publisher(&volume).await?;
            listed.push(Listed { volume, node });
        }
        Ok(Paged { items: listed, more: page.more })
    }

    /// One volume.
    pub(crate) async fn get_volume(&self, id: &VolumeId) -> Result<Listed> {
        let volume = self.ready_volume(id).await?.decoded.record;
        let node = self.publisher(&volume).await?;
        Ok(Listed { volume, node })
    }

    async fn publisher(&self, volume: &Volume) -> Result<Option<NodeId>> {
        let hold = self.hold(&volume.hold_key()).await?;
        Ok(hold.usage(&volume.id).map(|(node, _)| node.clone()))
    }
}

impl page::Listable for Volume {
    fn is_listed(&self) -> bool {
        self.phase == Phase::Ready
    }
}
