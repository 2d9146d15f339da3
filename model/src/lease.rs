//! Node leases: one renewal a node, however many members it holds.
//!
//! The holder counts from *before* it sent the renewal, an observer from *after* it first saw it,
//! each on its own monotonic clock. So the observer's end always lies behind the holder's, as long
//! as the *rates* of the two clocks differ by less than [`DRIFT_PER_MILLE`]. No two clocks need agree.
//! (Gray and Cheriton, "Leases", SOSP 1989, section 3.)

use std::collections::HashMap;
use std::time::Duration;

use crate::hold::Standing;
use crate::name::{Epoch, NodeId};
use crate::record::NodeLease;

/// The bound on how much faster one clock may run than another, in thousandths.
/// Quartz and NTP slewing stay below 1 (`adjtimex(2)` slews at 500 ppm at most).
pub const DRIFT_PER_MILLE: u32 = 10;

/// How long a lease is by default.
pub const TTL_DEFAULT: Duration = Duration::from_secs(5);

/// How long an observer waits beyond the end: for the node to end processes and to unmount.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(1);

/// How often a lease of this length is renewed.
pub fn renewal_interval(ttl: Duration) -> Duration {
    ttl / 3
}

/// The holder's side: until when it may act.
#[derive(Debug, Clone)]
pub struct Tenure {
    ttl: Duration,
    end: Option<Duration>,
}

impl Tenure {
    /// A tenure that was never won.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, end: None }
    }

    /// A renewal that was *sent* at `sent_at` has been answered: it counts from the sending.
    pub fn renewed(&mut self, sent_at: Duration) {
        self.end = self.end.max(Some(sent_at + self.ttl));
    }

    /// What is left at `now`; nothing where it is over or never began.
    pub fn remaining(&self, now: Duration) -> Option<Duration> {
        self.end?.checked_sub(now).filter(|left| !left.is_zero())
    }
}

/// An observer's side: how every node's lease stands, by the observer's own clock.
#[derive(Debug, Clone)]
pub struct Observer {
    grace: Duration,
    seen: HashMap<NodeId, Seen>,
}

#[derive(Debug, Clone)]
struct Seen {
    epoch: Epoch,
    renewals: u64,
    ttl: Duration,
    at: Duration,
}

impl Observer {
    /// An observer that has seen nothing: whatever it sees first, it takes for just renewed.
    pub fn new(grace: Duration) -> Self {
        Self { grace, seen: HashMap::new() }
    }

    /// Notes a lease as read at `now`; only a *change* of it counts as a renewal.
    pub fn observe(&mut self, lease: &NodeLease, now: Duration) {
        let seen = self.seen.get(&lease.node);
        if seen.is_some_and(|s| (s.epoch, s.renewals) >= (lease.epoch, lease.renewals)) {
            return;
        }
        let seen = Seen { epoch: lease.epoch, renewals: lease.renewals, ttl: lease.ttl(), at: now };
        self.seen.insert(lease.node.clone(), seen);
    }

    /// The node's record is gone: what comes under its name from now on is a node not seen before.
    pub fn forget(&mut self, node: &NodeId) {
        self.seen.remove(node);
    }

    /// How a hold of this node and epoch stands at `now`. A node that was never observed is taken
    /// for live: nothing is known against it.
    pub fn standing(&self, node: &NodeId, epoch: Epoch, now: Duration) -> Standing {
        let Some(seen) = self.seen.get(node) else {
            return Standing::Live(TTL_DEFAULT + self.grace);
        };
        if seen.epoch > epoch {
            // The node itself said that it had lost the lease under which it held.
            return Standing::Over;
        }
        let span = seen.ttl + seen.ttl * DRIFT_PER_MILLE / 1000 + self.grace;
        if seen.epoch < epoch {
            // It has won its lease anew, and that has not been seen here yet.
            return Standing::Live(span);
        }
        match (seen.at + span).checked_sub(now) {
            Some(left) if !left.is_zero() => Standing::Live(left),
            _ => Standing::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(epoch: u64, renewals: u64) -> NodeLease {
        NodeLease {
            node: "a".parse().unwrap(),
            epoch: Epoch(epoch),
            renewals,
            ttl_ms: 5000,
            topology: BTreeMap::new(),
            addresses: Vec::new(),
        }
    }

    #[test]
    fn a_tenure_counts_from_the_sending() {
        let mut tenure = Tenure::new(5 * SECOND);
        assert_eq!(tenure.remaining(SECOND), None);
        tenure.renewed(10 * SECOND);
        assert_eq!(tenure.remaining(12 * SECOND), Some(3 * SECOND));
        assert_eq!(tenure.remaining(15 * SECOND), None);
        tenure.renewed(9 * SECOND);
        assert_eq!(tenure.remaining(14 * SECOND), Some(SECOND), "an older answer shortens nothing");
    }

    #[test]
    fn only_a_change_counts_as_a_renewal() {
        let mut observer = Observer::new(SECOND);
        let node = lease(1, 1).node;
        observer.observe(&lease(1, 1), 10 * SECOND);
        observer.observe(&lease(1, 1), 14 * SECOND);
        assert_eq!(observer.standing(&node, Epoch(1), 17 * SECOND), Standing::Over);
        observer.observe(&lease(1, 2), 17 * SECOND);
        assert!(matches!(observer.standing(&node, Epoch(1), 20 * SECOND), Standing::Live(_)));
    }

    #[test]
    fn an_older_epoch_is_over_at_once() {
        let mut observer = Observer::new(SECOND);
        observer.observe(&lease(2, 1), SECOND);
        let node = lease(1, 1).node;
        assert_eq!(observer.standing(&node, Epoch(1), SECOND), Standing::Over);
        assert!(matches!(observer.standing(&node, Epoch(2), SECOND), Standing::Live(_)));
    }

    #[test]
    fn an_epoch_that_was_not_seen_yet_is_live() {
        let mut observer = Observer::new(SECOND);
        observer.observe(&lease(1, 1), SECOND);
        let node = lease(1, 1).node;
        let later = 100 * SECOND;
        assert_eq!(observer.standing(&node, Epoch(1), later), Standing::Over);
        assert!(matches!(observer.standing(&node, Epoch(2), later), Standing::Live(_)));
    }

    proptest::proptest! {
        /// Whatever the delays of a renewal: when the observer calls a lease over, the holder's own
        /// clock, which may run slow by the bound, has passed its end.
        #[test]
        fn the_observer_never_ends_a_lease_before_its_holder(
            sent_ms in 0u64..100_000,
            delay_ms in 0u64..10_000,
            slow_per_mille in 0u32..DRIFT_PER_MILLE,
            look_ms in 0u64..30_000,
        ) {
            let sent = Duration::from_millis(sent_ms);
            let seen_at = sent + Duration::from_millis(delay_ms);
            let mut tenure = Tenure::new(5 * SECOND);
            tenure.renewed(sent);
            let mut observer = Observer::new(SECOND);
            observer.observe(&lease(1, 1), seen_at);
            let look = seen_at + Duration::from_millis(look_ms);
            if observer.standing(&lease(1, 1).node, Epoch(1), look) == Standing::Over {
                let true_elapsed = look - sent;
                let holder_elapsed = true_elapsed - true_elapsed * slow_per_mille / 1000;
                proptest::prop_assert_eq!(tenure.remaining(sent + holder_elapsed), None);
            }
        }
    }
}
