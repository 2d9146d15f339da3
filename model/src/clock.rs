//! Time, as a parameter: the rules never read a clock themselves.

use std::time::{Duration, SystemTime};

/// Where time comes from.
///
/// Leases are compared on [`Clock::now`] of one node only; two nodes' readings are never compared,
/// so that clocks need no agreement, merely a bound on how much their *rates* differ.
pub trait Clock: Send + Sync {
    /// Time since boot, suspend included: it never steps and never stands still.
    fn now(&self) -> Duration;

    /// The calendar's time, for people and for creation stamps; nothing is decided by it.
    fn wall(&self) -> SystemTime;
}

/// The kernel's clocks: `CLOCK_BOOTTIME` and `CLOCK_REALTIME`.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Duration {
        // clock_gettime(2) fails only for an unknown clock or a bad pointer: neither can happen here.
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
            .map(Duration::from)
            .unwrap_or_default()
    }

    #[allow(clippy::disallowed_methods)] // This is the one place that the ban points to.
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_runs() {
        let before = BootClock.now();
        assert!(before > Duration::ZERO);
        assert!(BootClock.now() >= before);
    }
}
