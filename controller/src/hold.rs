//! Carrying holds out: the pure machine decides, the store records, then the back end acts.

use stead_model::Result;
use stead_model::hold::{Effect, Event, Hold, Standing};
use stead_model::name::{NodeId, Term, VolumeId};
use stead_model::port::{Attach, Attachment};
use stead_model::record::{self, HoldKey, HoldRecord};

use crate::core::Core;

/// What a step of a hold brought about.
pub(crate) struct Outcome {
    /// The term that holds now.
    pub(crate) term: Term,
    /// The attachment, where the step attached.
    pub(crate) attachment: Attachment,
}

impl Core {
    /// The hold as it is, free where it was never taken.
    pub(crate) async fn hold(&self, of: &HoldKey) -> Result<Hold> {
        let stored = self.registry.get::<HoldRecord>(&record::hold_key(of)).await?;
        Ok(stored.map(|stored| stored.decoded.record.hold).unwrap_or_default())
    }

    /// Steps the hold by compare-and-swap and carries the effects out. `event` is made anew for each
    /// try from how the lease of the holder that it finds stood when it was read.
    pub(crate) async fn step_hold(
        &self,
        of: &HoldKey,
        event: impl Fn(Standing) -> Event + Send + Sync,
    ) -> Result<Outcome> {
        let free = HoldRecord { of: of.clone(), hold: Hold::default() };
        let stored = self.registry.get_or_create(free).await?;
        // A renewal that the watch has not brought yet must count.
        let look = self.leases.look(stored.hold.holder.as_ref()).await?;
        let mut effects = Vec::new();
        let key = record::hold_key(of);
        let stored = self.registry.change::<HoldRecord>(&key, |stored| {
            let standing = self.leases.standing_at(&look, stored.hold.holder.as_ref());
            let (next, todo) = stored.hold.step(event(standing)).map_err(|refusal| {
                let error = stead_model::Error::from(refusal);
                stead_model::Error::new(error.kind(), format!("{of}: {error}"))
            })?;
            (stored.hold, effects) = (next, todo);
            Ok(())
        });
        let term = stored.await?.hold.term;
        let mut attachment = Attachment::new();
        for effect in effects {
            attachment.extend(self.carry_out(of, effect).await?);
        }
        Ok(Outcome { term, attachment })
    }

    /// Takes a volume from a node: the hold first, then the back end.
    pub(crate) async fn release(
        &self,
        of: &HoldKey,
        node: &NodeId,
        volume: &VolumeId,
    ) -> Result<()> {
        let released = self.step_hold(of, |standing| Event::Release {
            node: node.clone(),
            volume: volume.clone(),
            standing,
        });
        released.await.map(drop)
    }

    async fn carry_out(&self, of: &HoldKey, effect: Effect) -> Result<Attachment> {
        match effect {
            Effect::Fence { volume, term } => {
                self.volumes.fence(&volume, term).await?;
                Ok(Attachment::new())
            }
            Effect::Detach { volume, node } => {
                self.volumes.detach(&volume, &node).await?;
                self.fenced(of, volume, node).await?;
                Ok(Attachment::new())
            }
            Effect::Attach { volume, node, term } => {
                self.volumes.attach(&Attach { volume, node, term }).await
            }
        }
    }

    async fn fenced(&self, of: &HoldKey, volume: VolumeId, node: NodeId) -> Result<()> {
        let event = Event::Fenced { node, volume };
        let key = record::hold_key(of);
        let fenced = self.registry.change::<HoldRecord>(&key, |stored| {
            let (next, _) = stored.hold.step(event.clone())?;
            stored.hold = next;
            Ok(())
        });
        fenced.await.map(drop)
    }
}
