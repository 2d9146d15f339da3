//! What the demo found.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// A step of the story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When it was done, in milliseconds since the hosts were up.
    pub at_ms: u64,
    /// What was done.
    pub what: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7} ms  {}", self.at_ms, self.what)
    }
}

/// What the client saw of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How often the member moved.
    pub moves: u64,
    /// Writes that were acknowledged.
    pub acknowledged_writes: u64,
    /// Those of them that were not there in the end.
    pub lost_writes: u64,
    /// The longest time without an acknowledged write.
    pub longest_gap_ms: u64,
    /// That of the planned move.
    pub planned_gap_ms: u64,
    /// That of the power cut.
    pub power_cut_gap_ms: u64,
    /// Connections that the client made.
    pub connections: u64,
    /// The member's name.
    pub dns_name: String,
    /// The addresses that the name had: one, if all is well.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// The steps.
    pub timeline: Vec<Step>,
}

impl fmt::Display for Report {
    /// The last line is for scripts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        writeln!(f, "{} was at {} all along", self.dns_name, addresses.join(", "))?;
        writeln!(
            f,
            "{} writes acknowledged over {} connections; without one for {} ms in the planned move, \
             for {} ms in the power cut",
            self.acknowledged_writes, self.connections, self.planned_gap_ms, self.power_cut_gap_ms
        )?;
        write!(
            f,
            "demo: moves={} lost_writes={} longest_gap_ms={} planned_gap_ms={}",
            self.moves, self.lost_writes, self.longest_gap_ms, self.planned_gap_ms
        )
    }
}
