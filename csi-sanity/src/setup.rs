//! How a driver is started.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::Output;

use crate::{Disk, Driver};

/// How a driver is started: the command line and the environment, where they differ from usual.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    pub(crate) options: Vec<OsString>,
    pub(crate) environment: Vec<(String, OsString)>,
    pub(crate) pool: Option<PathBuf>,
    pub(crate) shared: bool,
}

/// A driver that did not start.
#[derive(Debug)]
pub struct Refused {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it said on standard error.
    pub said: String,
}

impl Refused {
    pub(crate) fn new(output: &Output) -> Self {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), said }
    }
}

impl Setup {
    /// The usual: the whole driver in one process, on a pool of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// With an option and its value.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.options.extend([name.into(), value.into()]);
        self
    }

    /// With a flag.
    #[must_use]
    pub fn flag(mut self, name: &str) -> Self {
        self.options.push(name.into());
        self
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// With its pool on this disk.
    #[must_use]
    pub fn on(mut self, disk: &Disk) -> Self {
        self.pool = Some(disk.root().to_owned());
        self
    }

    /// On a pool that other nodes reach too, for [`Driver::join`].
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Starts it and waits until it is ready; nothing where the machine does not allow it, which is
    /// said loudly.
    pub async fn start(self) -> Option<Driver> {
        let driver = self.prepare()?;
        driver.start_process().await;
        Some(driver)
    }

    /// Makes its directories without starting it.
    pub fn prepare(self) -> Option<Driver> {
        machine_allows_it().then(|| Driver::prepare(self))
    }
}

/// Whether this is root on a machine with loop devices; if not, that is said loudly.
pub(crate) fn machine_allows_it() -> bool {
    let Err(error) = stead_rig::need::check(&[stead_rig::need::EXT4]) else { return true };
    // Not `eprintln!`, which a passing test swallows. Where nobody reads it there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED, nothing was tested: {error}");
    false
}
