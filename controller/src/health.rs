//! What is wrong with a volume, as far as the controller can see.

use stead_model::Result;
use stead_model::hold::{Stage, Standing};
use stead_model::record::Volume;
use stead_proto::csi::v1::volume_health::VolumeHealthEntry;
use stead_proto::csi::v1::{VolumeHealth, VolumeHealthErrorType};

use crate::core::Core;

impl Core {
    /// Nothing, or that its holder no longer renews its lease (CSI 1.13, `VolumeHealth`).
    pub(crate) async fn health(&self, volume: &Volume) -> Result<VolumeHealth> {
        let hold = self.hold(&volume.hold_key()).await?;
        let mut health_statuses = Vec::new();
        if let (Some(holder), Some((node, usage))) = (&hold.holder, hold.usage(&volume.id))
            && usage.stage > Stage::Attached
            && self.leases.standing(&holder.node, holder.epoch) == Standing::Over
        {
            health_statuses.push(VolumeHealthEntry {
                status: VolumeHealthErrorType::Inaccessible.into(),
                reason: "LeaseOver".to_owned(),
                message: format!("node '{node}' holds it and no longer renews its lease"),
            });
        }
        Ok(VolumeHealth { volume_id: volume.id.to_string(), health_statuses })
    }
}
