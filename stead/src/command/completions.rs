//! `stead completions`

use clap::{Args, CommandFactory, ValueEnum};

use super::Cli;
use crate::failure::Failure;
use crate::output;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  stead completions bash > /etc/bash_completion.d/stead
  stead completions zsh > /usr/local/share/zsh/site-functions/_stead
  stead completions fish > ~/.config/fish/completions/stead.fish")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        use clap_complete::{Shell as Known, generate};
        let shell = match self.shell {
            Shell::Bash => Known::Bash,
            Shell::Zsh => Known::Zsh,
            Shell::Fish => Known::Fish,
        };
        let mut script = Vec::new();
        generate(shell, &mut Cli::command(), "stead", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}
