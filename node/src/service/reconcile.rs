//! What a restart left behind, of the plugin or of the whole host.

use stead_model::hold::Stage;
use stead_model::record::HoldRecord;

use super::Host;
use crate::error::Result;
use crate::state::VolumeState;

impl Host {
    pub(super) async fn reconcile(&self) -> Result<()> {
        let holds = self.registry.list_all::<HoldRecord>().await?;
        let states = self.states.all()?;
        for state in &states {
            let held = holds.iter().any(|record| {
                record.of == state.hold && record.hold.is_held_by(&self.config.node, state.term)
            });
            let outcome = self.reconcile_state(state, held).await;
            report(&outcome, "cannot tidy a volume; the next call for it will say why");
        }
        for device in self.devices.all().await? {
            let known = states.iter().any(|state| state.volume == device.volume);
            if known || !self.mounts_of(&device.volume).await?.is_empty() {
                continue;
            }
            tracing::info!(volume = %device.volume, device = %device.path.display(), "detaching a device that nobody uses");
            report(&self.devices.detach(&device.volume).await, "cannot detach a device");
        }
        for record in &holds {
            report(&self.reconcile_hold(record).await, "cannot tell the store what is open here");
        }
        Ok(())
    }

    /// Forgets what is gone, and takes away what is no longer to be here.
    async fn reconcile_state(&self, state: &VolumeState, held: bool) -> Result<()> {
        let volume = &state.volume;
        let mounts = self.mounts_of(volume).await?;
        if !held && !mounts.is_empty() {
            tracing::warn!(%volume, term = %state.term, "mounted here and no longer held: taking it away");
            self.close(volume).await?;
        }
        let unpublished = !self.config.profile.staging && state.targets.is_empty();
        if held && unpublished && !mounts.is_empty() {
            tracing::info!(%volume, "mounted here and published nowhere: taking it away");
            self.close(volume).await?;
        }
        let staged = held && self.is_staged(volume, state).await?;
        if staged {
            return Ok(());
        }
        // The host was rebooted, or it was just taken away. The targets stay on record: their
        // directories are still to be removed when they are unpublished.
        if state.targets.is_empty() && self.devices.find(volume).await?.is_empty() {
            self.states.remove(volume)?;
        }
        Ok(())
    }

    /// Tells the store of volumes that it believes open here and that are not.
    async fn reconcile_hold(&self, record: &HoldRecord) -> Result<()> {
        let Some(holder) = &record.hold.holder else { return Ok(()) };
        if holder.node != self.config.node {
            return Ok(());
        }
        for (volume, usage) in &holder.volumes {
            if usage.stage > Stage::Attached && self.devices.find(volume).await?.is_empty() {
                tracing::info!(%volume, "held and not open here any more");
                self.lower(&record.of, volume, Stage::Attached).await?;
            }
        }
        Ok(())
    }
}

fn report(outcome: &Result<()>, message: &'static str) {
    if let Err(error) = outcome {
        tracing::warn!(%error, message);
    }
}
