//! What has to be up on a node: a function of the store's records alone.

use std::collections::BTreeMap;

use stead_model::hold::{Event, Hold, Refusal, Stage};
use stead_model::name::{Epoch, MemberKey, NodeId, Role, Term};
use stead_model::record::{HoldKey, HoldRecord, Member};

/// A member whose network identity belongs on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The term of the hold.
    pub term: Term,
    /// The member.
    pub member: Member,
}

/// The members whose network identity belongs on `node` in this epoch: held by it, and with the
/// primary volume in the workload's hands.
pub fn desired(
    holds: &[HoldRecord],
    members: &BTreeMap<MemberKey, Member>,
    node: &NodeId,
    epoch: Epoch,
) -> BTreeMap<MemberKey, Wanted> {
    let wanted = holds.iter().filter_map(|record| {
        let HoldKey::Member(key) = &record.of else { return None };
        let member = members.get(key)?;
        is_up(&record.hold, member, node, epoch)
            .then(|| (key.clone(), Wanted { term: record.hold.term, member: member.clone() }))
    });
    wanted.collect()
}

/// Whether the member's network identity belongs on `node` in this epoch.
pub fn is_up(hold: &Hold, member: &Member, node: &NodeId, epoch: Epoch) -> bool {
    let Some(holder) = &hold.holder else { return false };
    let primary = member.volumes.get(&Role::primary());
    let usage = primary.and_then(|volume| holder.volumes.get(volume));
    holder.node == *node
        && holder.epoch == epoch
        && usage.is_some_and(|usage| usage.stage == Stage::Published)
}

/// Whether a hold names this node with an epoch that is over.
pub(crate) fn is_left_over(hold: &Hold, node: &NodeId, epoch: Epoch) -> bool {
    hold.holder.as_ref().is_some_and(|holder| holder.node == *node && holder.epoch < epoch)
}

/// The hold carried over into a new epoch of its holder. Where it stems from before the epoch in
/// which the host `booted`, nothing is mounted: the volumes go back to being attached only.
pub(crate) fn renewed(
    hold: &Hold,
    node: &NodeId,
    epoch: Epoch,
    booted: Epoch,
) -> Result<Hold, Refusal> {
    let unmounted = hold.holder.as_ref().is_some_and(|holder| holder.epoch < booted);
    let (mut next, _) = hold.step(Event::Renew { node: node.clone(), epoch })?;
    let volumes: Vec<_> =
        next.holder.iter().flat_map(|holder| holder.volumes.keys().cloned()).collect();
    for volume in volumes.into_iter().filter(|_| unmounted) {
        let (node, term) = (node.clone(), next.term);
        (next, _) = next.step(Event::Reach { node, term, volume, stage: Stage::Attached })?;
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use stead_model::hold::{Holder, Use};

    use super::*;

    fn member() -> Member {
        Member {
            id: "c/m-0".parse().unwrap(),
            service: "m".parse().unwrap(),
            dns_name: "m-0.c.stead.internal".parse().unwrap(),
            addresses: vec!["10.0.0.5".parse().unwrap()],
            pool: None,
            volumes: BTreeMap::from([
                (Role::primary(), "vol-0".parse().unwrap()),
                ("journal".parse().unwrap(), "vol-1".parse().unwrap()),
            ]),
        }
    }

    fn hold(node: &str, epoch: u64, volume: &str, stage: Stage) -> Hold {
        let usage = Use { stage, readonly: false, access: "mount".to_owned() };
        let holder = Holder {
            node: node.parse().unwrap(),
            epoch: Epoch(epoch),
            volumes: BTreeMap::from([(volume.parse().unwrap(), usage)]),
        };
        Hold { term: Term(4), holder: Some(holder), ..Hold::default() }
    }

    fn wants(hold: Hold) -> bool {
        let record = HoldRecord { of: HoldKey::Member(member().id), hold };
        let members = BTreeMap::from([(member().id, member())]);
        let wanted = desired(&[record], &members, &"a".parse().unwrap(), Epoch(2));
        assert!(wanted.values().all(|it| it.term == Term(4)));
        !wanted.is_empty()
    }

    #[test]
    fn only_a_published_primary_of_this_node_and_epoch_is_wanted() {
        assert!(wants(hold("a", 2, "vol-0", Stage::Published)));
        assert!(!wants(hold("a", 2, "vol-0", Stage::Staged)), "the data is not there yet");
        assert!(!wants(hold("a", 2, "vol-1", Stage::Published)), "a journal carries no address");
        assert!(!wants(hold("a", 1, "vol-0", Stage::Published)), "that lease was lost");
        assert!(!wants(hold("b", 2, "vol-0", Stage::Published)));
        assert!(!wants(Hold::default()));
    }

    #[test]
    fn a_volume_or_an_unknown_member_is_not_wanted() {
        let hold = hold("a", 2, "vol-0", Stage::Published);
        let records = [
            HoldRecord { of: HoldKey::Volume("vol-0".parse().unwrap()), hold: hold.clone() },
            HoldRecord { of: HoldKey::Member("c/m-9".parse().unwrap()), hold },
        ];
        let members = BTreeMap::from([(member().id, member())]);
        assert!(desired(&records, &members, &"a".parse().unwrap(), Epoch(2)).is_empty());
    }

    #[test]
    fn a_hold_goes_on_in_the_next_epoch_but_not_its_mounts_after_a_boot() {
        let old = hold("a", 1, "vol-0", Stage::Published);
        let node: NodeId = "a".parse().unwrap();
        assert!(is_left_over(&old, &node, Epoch(2)));
        let next = renewed(&old, &node, Epoch(2), Epoch(1)).unwrap();
        assert!(is_up(&next, &member(), &node, Epoch(2)));
        assert_eq!(next.term, old.term);
        let next = renewed(&old, &node, Epoch(2), Epoch(2)).unwrap();
        assert!(!is_up(&next, &member(), &node, Epoch(2)));
        assert!(next.is_held_by(&node, Term(4)));
        let taken = hold("b", 1, "vol-0", Stage::Published);
        assert!(renewed(&taken, &node, Epoch(2), Epoch(1)).is_err());
    }
}
