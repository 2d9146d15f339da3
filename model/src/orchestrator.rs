//! What differs between orchestrators, in one table.
//!
//! Each value is a workaround for what that orchestrator does, not a matter of taste; the reason
//! stands at the field.

use std::time::Duration;

use crate::{Error, Kind};

/// An orchestrator that we know the ways of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Orchestrator {
    /// Kubernetes 1.26 or later.
    Kubernetes,
    /// Nomad.
    Nomad,
    /// Docker Swarm, engine 28.2 or later.
    Swarm,
    /// Any other, or none: the specification to the letter.
    #[default]
    None,
}

/// Where the identity of a member may be read from when a volume is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Only from our own parameters.
    Parameters,
    /// Also from the claim's name and namespace, which the external provisioner adds
    /// (`--extra-create-metadata`).
    Claim,
    /// Also from the volume's name: `SERVICE[N]` of a `per_alloc` volume.
    PerAlloc,
}

/// How to behave towards an orchestrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Whether to advertise `STAGE_UNSTAGE_VOLUME`. Swarm never calls `NodeUnstageVolume`.
    pub staging: bool,
    /// Whether to return topology. Swarm drops or mangles it.
    pub topology: bool,
    /// How long a call waits for its operation before it says "repeat". Below the caller's own
    /// deadline: Swarm 15 s, the external provisioner 15 s unless told otherwise, Nomad 2 minutes.
    pub patience: Duration,
    /// The kind that a pending operation is reported as. Nomad ends an allocation on ABORTED and
    /// retries UNAVAILABLE.
    pub busy: Kind,
    /// Where identity is read from besides our own parameters.
    pub hint: Hint,
}

impl Orchestrator {
    /// Every one of them.
    pub const ALL: [Orchestrator; 4] = [Self::Kubernetes, Self::Nomad, Self::Swarm, Self::None];

    /// The table.
    pub const fn profile(self) -> Profile {
        let spec = Profile {
            staging: true,
            topology: true,
            patience: Duration::from_secs(50),
            busy: Kind::Busy,
            hint: Hint::Parameters,
        };
        match self {
            Self::Kubernetes => {
                Profile { patience: Duration::from_secs(12), hint: Hint::Claim, ..spec }
            }
            Self::Nomad => Profile {
                patience: Duration::from_secs(100),
                busy: Kind::Unavailable,
                hint: Hint::PerAlloc,
                ..spec
            },
            Self::Swarm => Profile {
                staging: false,
                topology: false,
                patience: Duration::from_secs(12),
                ..spec
            },
            Self::None => spec,
        }
    }

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Nomad => "nomad",
            Self::Swarm => "swarm",
            Self::None => "none",
        }
    }
}

impl Profile {
    /// The error as this orchestrator has to see it.
    pub fn present(&self, error: Error) -> Error {
        match error.kind() {
            Kind::Busy | Kind::Conflict => Error::new(self.busy, error.chain()),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swarm_gets_neither_staging_nor_topology_and_an_answer_within_its_15_seconds() {
        let profile = Orchestrator::Swarm.profile();
        assert!(!profile.staging && !profile.topology);
        assert!(profile.patience < Duration::from_secs(15));
    }

    #[test]
    fn nomad_never_sees_aborted() {
        let shown = Orchestrator::Nomad.profile().present(Error::busy("x"));
        assert_eq!(shown.kind(), Kind::Unavailable);
        let shown = Orchestrator::None.profile().present(Error::busy("x"));
        assert_eq!(shown.kind(), Kind::Busy);
    }
}
