//! The hold protocol: who may use a member, as a pure state machine.
//!
//! `state + event -> state + effects`. There is no I/O here and no clock: the caller says how the
//! holder's lease stands, stores the new state by compare-and-swap and only then carries out the
//! effects. A lost compare-and-swap therefore has no side effect, and a crash between the two is
//! made good by the repeat of the event, which yields the same effects again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::name::{Epoch, NodeId, Term, VolumeId};

/// How a holder's node lease stands in the eyes of an observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may still act; for this long at most if it is never renewed again.
    Live(Duration),
    /// It is over and the grace has passed: the node has fenced itself.
    Over,
}

/// How far a node has come with a volume it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The node may use it (`ControllerPublishVolume`).
    Attached,
    /// The node has it open (`NodeStageVolume`, or `NodePublishVolume` of a block volume).
    Staged,
    /// The workload has it (`NodePublishVolume`): a primary volume's network identity is up.
    Published,
}

/// How a held volume is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// How far it has come.
    pub stage: Stage,
    /// Whether it may be written.
    pub readonly: bool,
    /// The access it was asked for with; a repeat has to ask for the same.
    pub access: String,
}

/// The node that holds, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The node.
    pub node: NodeId,
    /// The epoch of its lease: a hold of an older epoch is over.
    pub epoch: Epoch,
    /// The member's volumes that the node has.
    pub volumes: BTreeMap<VolumeId, Use>,
}

/// A hold: at most one holder, and a term that never goes down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// It grew by one with every holder; 0 before the first.
    pub term: Term,
    /// Who holds now.
    pub holder: Option<Holder>,
    /// Volumes that an earlier holder may still be attached to: detached by that node's name before
    /// the holder attaches them.
    pub unfenced: BTreeSet<(NodeId, VolumeId)>,
}

/// What is asked of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the terms that the variants speak of.
pub enum Event {
    /// A node wants a volume of it. `standing` is that of the *present* holder's lease.
    Claim {
        node: NodeId,
        epoch: Epoch,
        volume: VolumeId,
        readonly: bool,
        access: String,
        standing: Standing,
    },
    /// The detach of an earlier holder from a volume was carried out.
    Fenced { node: NodeId, volume: VolumeId },
    /// The holder has come to (or gone back to) a stage with a volume.
    Reach { node: NodeId, term: Term, volume: VolumeId, stage: Stage },
    /// The holder's lease was lost and won anew before anybody took over.
    Renew { node: NodeId, epoch: Epoch },
    /// A node is to give a volume back. `standing` is that of *its* lease.
    Release { node: NodeId, volume: VolumeId, standing: Standing },
}

/// What the caller has to do once the new state is stored, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the terms that the variants speak of.
pub enum Effect {
    /// Refuse terms below this one at the storage.
    Fence { volume: VolumeId, term: Term },
    /// Detach the volume from exactly this node, then say [`Event::Fenced`].
    Detach { volume: VolumeId, node: NodeId },
    /// Attach the volume to the holder.
    Attach { volume: VolumeId, node: NodeId, term: Term },
}

/// Why an event is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are the terms that the variants speak of.
pub enum Refusal {
    /// Another node holds and its lease lives.
    #[error(
        "held by node '{node}' (term {term}): release it there, or wait: its lease ends in {} ms at most",
        remaining.as_millis()
    )]
    HeldElsewhere { node: NodeId, term: Term, remaining: Duration },
    /// The same node has the volume with other arguments.
    #[error("node '{node}' has it already with access '{access}' and readonly={readonly}")]
    OtherArguments { node: NodeId, access: String, readonly: bool },
    /// Whoever says this no longer holds.
    #[error("node '{node}' does not hold it with term {term}: the term is now {now}")]
    Stale { node: NodeId, term: Term, now: Term },
    /// The node still uses the volume and its lease lives.
    #[error(
        "node '{node}' still uses it: unpublish it there first, or wait: its lease ends in {} ms at most",
        remaining.as_millis()
    )]
    InUse { node: NodeId, remaining: Duration },
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::OtherArguments { .. } => Error::already_exists(refusal.to_string()),
            _ => Error::precondition(refusal.to_string()),
        }
    }
}

impl Hold {
    /// Whether this node holds with this term.
    pub fn is_held_by(&self, node: &NodeId, term: Term) -> bool {
        self.term == term && self.holder.as_ref().is_some_and(|holder| holder.node == *node)
    }

    /// The use of a volume, where it is held.
    pub fn usage(&self, volume: &VolumeId) -> Option<(&NodeId, &Use)> {
        let holder = self.holder.as_ref()?;
        Some((&holder.node, holder.volumes.get(volume)?))
    }

    /// The next state and its effects, or why there is none. The state itself is not touched.
    pub fn step(&self, event: Event) -> Result<(Hold, Vec<Effect>), Refusal> {
        match event {
            Event::Claim { node, epoch, volume, readonly, access, standing } => {
                let usage = Use { stage: Stage::Attached, readonly, access };
                self.claim(
                    Holder { node, epoch, volumes: BTreeMap::new() },
                    volume,
                    usage,
                    standing,
                )
            }
            Event::Fenced { node, volume } => {
                let mut next = self.clone();
                next.unfenced.remove(&(node, volume));
                Ok((next, Vec::new()))
            }
            Event::Reach { node, term, volume, stage } => self.reach(node, term, volume, stage),
            Event::Renew { node, epoch } => {
                let mut next = self.clone();
                match &mut next.holder {
                    Some(holder) if holder.node == node && holder.epoch <= epoch => {
                        holder.epoch = epoch;
                        Ok((next, Vec::new()))
                    }
                    _ => Err(Refusal::Stale { node, term: self.term, now: self.term }),
                }
            }
            Event::Release { node, volume, standing } => self.release(node, volume, standing),
        }
    }

    fn claim(
        &self,
        claimant: Holder,
        volume: VolumeId,
        usage: Use,
        standing: Standing,
    ) -> Result<(Hold, Vec<Effect>), Refusal> {
        let mut next = self.clone();
        match (&mut next.holder, standing) {
            (Some(holder), _) if holder.node == claimant.node => {
                holder.epoch = claimant.epoch;
                let had = holder.volumes.entry(volume.clone()).or_insert_with(|| usage.clone());
                if (had.readonly, &had.access) != (usage.readonly, &usage.access) {
                    return Err(Refusal::OtherArguments {
                        node: claimant.node,
                        access: had.access.clone(),
                        readonly: had.readonly,
                    });
                }
            }
            (Some(holder), Standing::Live(remaining)) => {
                let node = holder.node.clone();
                return Err(Refusal::HeldElsewhere { node, term: self.term, remaining });
            }
            (old, _) => {
                if let Some(dead) = old.take() {
                    let left = dead.volumes.into_keys().map(|volume| (dead.node.clone(), volume));
                    next.unfenced.extend(left);
                }
                next.term = self.term.next();
                next.holder = Some(Holder {
                    volumes: BTreeMap::from([(volume.clone(), usage)]),
                    ..claimant.clone()
                });
            }
        }
        let effects = next.attach_effects(&volume, &claimant.node);
        Ok((next, effects))
    }

    fn attach_effects(&self, volume: &VolumeId, node: &NodeId) -> Vec<Effect> {
        let (volume, term) = (volume.clone(), self.term);
        let mut effects = vec![Effect::Fence { volume: volume.clone(), term }];
        let old = self.unfenced.iter().filter(|(_, left)| *left == volume);
        effects.extend(
            old.map(|(node, _)| Effect::Detach { volume: volume.clone(), node: node.clone() }),
        );
        effects.push(Effect::Attach { volume, node: node.clone(), term });
        effects
    }

    fn reach(
        &self,
        node: NodeId,
        term: Term,
        volume: VolumeId,
        stage: Stage,
    ) -> Result<(Hold, Vec<Effect>), Refusal> {
        let mut next = self.clone();
        let usage = next
            .holder
            .as_mut()
            .filter(|holder| holder.node == node && self.term == term)
            .and_then(|holder| holder.volumes.get_mut(&volume));
        match usage {
            Some(usage) => {
                usage.stage = stage;
                Ok((next, Vec::new()))
            }
            None => Err(Refusal::Stale { node, term, now: self.term }),
        }
    }

    fn release(
        &self,
        node: NodeId,
        volume: VolumeId,
        standing: Standing,
    ) -> Result<(Hold, Vec<Effect>), Refusal> {
        let mut next = self.clone();
        let mut effects = Vec::new();
        if let Some(holder) = next.holder.as_mut().filter(|holder| holder.node == node) {
            match (holder.volumes.get(&volume), standing) {
                (Some(usage), Standing::Live(remaining)) if usage.stage > Stage::Attached => {
                    return Err(Refusal::InUse { node, remaining });
                }
                (Some(_), _) => {
                    holder.volumes.remove(&volume);
                    effects.push(Effect::Detach { volume: volume.clone(), node: node.clone() });
                    next.unfenced.insert((node.clone(), volume.clone()));
                }
                (None, _) => {}
            }
            if holder.volumes.is_empty() {
                next.holder = None;
            }
        }
        // A release that was stored but not carried out before a crash is carried out by its repeat.
        let pending = next.unfenced.contains(&(node.clone(), volume.clone()));
        if effects.is_empty() && pending {
            effects.push(Effect::Detach { volume, node });
        }
        Ok((next, effects))
    }
}
