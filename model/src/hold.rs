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
                // The node may have come to a newer epoch since its lease was read.
                holder.epoch = holder.epoch.max(claimant.epoch);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIVE: Standing = Standing::Live(Duration::from_secs(3));

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn volume(name: &str) -> VolumeId {
        name.parse().unwrap()
    }

    fn claim(by: &str, of: &str, standing: Standing) -> Event {
        Event::Claim {
            node: node(by),
            epoch: Epoch(1),
            volume: volume(of),
            readonly: false,
            access: "mount".into(),
            standing,
        }
    }

    fn stepped(hold: &Hold, event: Event) -> Hold {
        hold.step(event).unwrap().0
    }

    #[test]
    fn a_claim_of_a_free_hold_raises_the_term_and_attaches() {
        let (hold, effects) = Hold::default().step(claim("a", "v", Standing::Over)).unwrap();
        assert!(hold.is_held_by(&node("a"), Term(1)));
        let fence = Effect::Fence { volume: volume("v"), term: Term(1) };
        let attach = Effect::Attach { volume: volume("v"), node: node("a"), term: Term(1) };
        assert_eq!(effects, [fence, attach]);
    }

    #[test]
    fn a_repeated_claim_keeps_the_term_and_attaches_again() {
        let (once, first) = Hold::default().step(claim("a", "v", Standing::Over)).unwrap();
        let (twice, second) = once.step(claim("a", "v", LIVE)).unwrap();
        assert_eq!((once, first), (twice, second));
    }

    #[test]
    fn a_claim_that_was_begun_in_an_older_epoch_does_not_take_the_newer_one_away() {
        let mut hold = stepped(&Hold::default(), claim("a", "v", Standing::Over));
        hold = stepped(&hold, Event::Renew { node: node("a"), epoch: Epoch(2) });
        hold = stepped(&hold, claim("a", "v", LIVE));
        assert_eq!(hold.holder.unwrap().epoch, Epoch(2));
    }

    #[test]
    fn a_live_holder_is_named_in_the_refusal() {
        let hold = stepped(&Hold::default(), claim("a", "v", Standing::Over));
        let refusal = hold.step(claim("b", "v", LIVE)).unwrap_err();
        assert!(matches!(&refusal, Refusal::HeldElsewhere { node, .. } if node.as_str() == "a"));
        let error = Error::from(refusal);
        assert_eq!(error.kind(), crate::Kind::Precondition);
        assert!(error.to_string().contains("'a'"), "{error}");
    }

    #[test]
    fn a_takeover_detaches_every_volume_of_the_dead_holder_by_its_name() {
        let mut hold = stepped(&Hold::default(), claim("a", "data", Standing::Over));
        hold = stepped(&hold, claim("a", "journal", LIVE));
        let (hold, effects) = hold.step(claim("b", "journal", Standing::Over)).unwrap();
        assert!(hold.is_held_by(&node("b"), Term(2)));
        assert!(effects.contains(&Effect::Detach { volume: volume("journal"), node: node("a") }));
        let hold = stepped(&hold, Event::Fenced { node: node("a"), volume: volume("journal") });
        let (_, effects) = hold.step(claim("b", "data", LIVE)).unwrap();
        assert!(effects.contains(&Effect::Detach { volume: volume("data"), node: node("a") }));
    }

    #[test]
    fn a_stale_holder_reaches_nothing() {
        let mut hold = stepped(&Hold::default(), claim("a", "v", Standing::Over));
        hold = stepped(&hold, claim("b", "v", Standing::Over));
        let reach = |by: &str, term| Event::Reach {
            node: node(by),
            term: Term(term),
            volume: volume("v"),
            stage: Stage::Published,
        };
        assert!(matches!(hold.step(reach("a", 1)), Err(Refusal::Stale { .. })));
        assert!(matches!(hold.step(reach("a", 2)), Err(Refusal::Stale { .. })));
        assert!(hold.step(reach("b", 2)).is_ok());
    }

    #[test]
    fn a_volume_in_use_is_released_only_when_the_lease_is_over() {
        let mut hold = stepped(&Hold::default(), claim("a", "v", Standing::Over));
        let reach = Event::Reach {
            node: node("a"),
            term: Term(1),
            volume: volume("v"),
            stage: Stage::Published,
        };
        hold = stepped(&hold, reach);
        let release = |standing| Event::Release { node: node("a"), volume: volume("v"), standing };
        assert!(matches!(hold.step(release(LIVE)), Err(Refusal::InUse { .. })));
        let (hold, effects) = hold.step(release(Standing::Over)).unwrap();
        assert_eq!(hold.holder, None);
        assert_eq!(hold.term, Term(1), "the term stays");
        assert_eq!(effects, [Effect::Detach { volume: volume("v"), node: node("a") }]);
        let (_, again) = hold.step(release(LIVE)).unwrap();
        assert_eq!(again, effects, "a crash before the detach is made good by the repeat");
    }

    #[test]
    fn other_arguments_on_the_same_node_are_a_conflict() {
        let hold = stepped(&Hold::default(), claim("a", "v", Standing::Over));
        let readonly = Event::Claim {
            node: node("a"),
            epoch: Epoch(1),
            volume: volume("v"),
            readonly: true,
            access: "mount".into(),
            standing: LIVE,
        };
        let error = Error::from(hold.step(readonly).unwrap_err());
        assert_eq!(error.kind(), crate::Kind::AlreadyExists);
    }

    fn event() -> impl Strategy<Value = Event> {
        let node = prop::sample::select(vec!["a", "b", "c"]).prop_map(|n| n.parse().unwrap());
        let volume = prop::sample::select(vec!["v", "w"]).prop_map(|v| v.parse().unwrap());
        let standing = prop::sample::select(vec![LIVE, Standing::Over]);
        let stage = prop::sample::select(vec![Stage::Attached, Stage::Staged, Stage::Published]);
        (0..4u8, node, volume, standing, stage, 0u64..5).prop_map(
            |(kind, node, volume, standing, stage, number): (_, NodeId, VolumeId, _, _, _)| {
                match kind {
                    0 => Event::Claim {
                        node,
                        epoch: Epoch(number),
                        volume,
                        readonly: false,
                        access: "mount".into(),
                        standing,
                    },
                    1 => Event::Fenced { node, volume },
                    2 => Event::Reach { node, term: Term(number), volume, stage },
                    _ => Event::Release { node, volume, standing },
                }
            },
        )
    }

    proptest! {
        /// Whatever happens in whatever order: the term never goes down, it grows exactly when the
        /// hold changes hands, and a live holder is never replaced.
        #[test]
        fn the_term_only_grows_and_only_with_the_holder(
            events in prop::collection::vec(event(), 1..60),
        ) {
            let mut hold = Hold::default();
            for event in events {
                let live = matches!(&event, Event::Claim { standing: Standing::Live(_), .. });
                let Ok((next, effects)) = hold.step(event) else { continue };
                prop_assert!(next.term >= hold.term);
                let of = |hold: &Hold| hold.holder.as_ref().map(|holder| holder.node.clone());
                let (before, after) = (of(&hold), of(&next));
                if after.is_some() && after != before {
                    prop_assert_eq!(next.term, hold.term.next());
                    prop_assert!(before.is_none() || !live);
                } else {
                    prop_assert_eq!(next.term, hold.term);
                }
                for effect in effects {
                    if let Effect::Attach { node, term, .. } = effect {
                        prop_assert!(next.is_held_by(&node, term));
                    }
                }
                hold = next;
            }
        }
    }
}
