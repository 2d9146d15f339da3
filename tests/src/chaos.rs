//! Parts that are killed at random and started again, as a supervisor does.

use std::time::Duration;

use nix::sys::signal::Signal;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use stead_model::{Error, Result};

use crate::namespace::Process;

/// How long a killed process may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// How a part is started.
pub type Start<'a> = Box<dyn Fn() -> Result<Process> + Send + Sync + 'a>;

/// The parts of a driver, each with its present process.
pub struct Chaos<'a> {
    parts: Vec<(Start<'a>, Process)>,
    random: SmallRng,
    kills: u64,
}

impl std::fmt::Debug for Chaos<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.parts.iter().map(|(_, process)| process.name()).collect();
        f.debug_struct("Chaos").field("parts", &names).field("kills", &self.kills).finish()
    }
}

impl<'a> Chaos<'a> {
    /// Starts the parts in their order. The same seed kills the same parts after the same pauses.
    pub fn start(starts: Vec<Start<'a>>, seed: u64) -> Result<Self> {
        let started = starts.into_iter().map(|start| start().map(|process| (start, process)));
        let parts = started.collect::<Result<_>>()?;
        Ok(Self { parts, random: SmallRng::seed_from_u64(seed), kills: 0 })
    }

    /// Kills one of them after a pause, and starts it again.
    ///
    /// A part that ended by itself is an error: none of them may, whatever becomes of the others.
    pub async fn strike(&mut self, pauses: std::ops::Range<Duration>) -> Result<()> {
        tokio::time::sleep(self.random.random_range(pauses)).await;
        self.check()?;
        let chosen = self.random.random_range(0..self.parts.len());
        let (start, process) = &mut self.parts[chosen];
        process.signal(Signal::SIGKILL)?;
        process.wait(GONE).await?;
        *process = start()?;
        self.kills += 1;
        Ok(())
    }

    /// Whether all of them run.
    pub fn check(&self) -> Result<()> {
        for (_, process) in &self.parts {
            if let Some(status) = process.ended()? {
                let message = format!("{} ended by itself ({status})", process.name());
                return Err(Error::corrupt(message));
            }
        }
        Ok(())
    }

    /// How often one was killed.
    pub fn kills(&self) -> u64 {
        self.kills
    }
}
