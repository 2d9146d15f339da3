//! What is up for each member, and the locks that keep work on one member in order.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stead_model::name::{Epoch, MemberKey, Term};
use tokio_util::task::AbortOnDropHandle;

use crate::kernel::Carried;

/// One member's place.
///
/// Two locks: `turn` is held over a whole convergence, with its calls to the store and to back ends;
/// `up` only around calls to the kernel, so that a slow back end never keeps an address from being
/// renewed or taken down.
#[derive(Default)]
pub(crate) struct Slot {
    /// Whoever works on the member.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// What the kernel was told.
    pub(crate) up: tokio::sync::Mutex<Option<Up>>,
    /// Whether work on the member waits to begin: more need not be asked for.
    pub(crate) queued: AtomicBool,
}

/// A member's addresses on this node.
pub(crate) struct Up {
    pub(crate) epoch: Epoch,
    pub(crate) term: Term,
    pub(crate) carried: Vec<Carried>,
    /// None while the addresses are only being put up.
    pub(crate) announcing: Option<AbortOnDropHandle<()>>,
}

/// The members that this node has, or had a moment ago.
#[derive(Default)]
pub(crate) struct Slots(Mutex<BTreeMap<MemberKey, Arc<Slot>>>);

impl Slots {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<MemberKey, Arc<Slot>>> {
        // Only whole insertions and removals happen under it: a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The member's slot, made where there was none.
    pub(crate) fn slot(&self, member: &MemberKey) -> Arc<Slot> {
        Arc::clone(self.lock().entry(member.clone()).or_default())
    }

    pub(crate) fn has(&self, member: &MemberKey) -> bool {
        self.lock().contains_key(member)
    }

    pub(crate) fn members(&self) -> Vec<MemberKey> {
        self.lock().keys().cloned().collect()
    }

    pub(crate) fn all(&self) -> Vec<(MemberKey, Arc<Slot>)> {
        self.lock().iter().map(|(member, slot)| (member.clone(), Arc::clone(slot))).collect()
    }

    /// Forgets a member that is not up, unless somebody else is about to work on it.
    pub(crate) fn forget(&self, member: &MemberKey, slot: Arc<Slot>) {
        let mut slots = self.lock();
        // One in the map and one in our hand: nobody else can come by another, we hold the map.
        if Arc::strong_count(&slot) == 2 {
            slots.remove(member);
        }
    }
}
