//! `stead man`

use std::fs;
use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::Cli;
use crate::failure::Failure;
use crate::output;

/// Print the manual page, or write that of every command to a directory
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  Read the page of the program:
    stead man | man -l -

  Install a page for every command (stead.1, stead-get.1, ...):
    stead man --out /usr/local/share/man/man1")]
pub(super) struct Man {
    /// The directory to write to, one file for each command; made where it is missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(format!("the manual pages could not be written: {error}"))
        };
        let Some(dir) = self.out else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(failed)?;
            return output::print(&String::from_utf8_lossy(&page));
        };
        fs::create_dir_all(&dir).map_err(failed)?;
        clap_mangen::generate_to(Cli::command(), &dir).map_err(failed)
    }
}
