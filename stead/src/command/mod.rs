//! The subcommands, one file each.

mod all;
mod certificate;
mod completions;
mod controller;
mod demo;
mod get;
mod man;
mod netagent;
mod node;
mod version;

use std::future::Future;

use clap::{Parser, Subcommand};

use crate::failure::{CODES, Failure};
use crate::logs;
use crate::option::LogOptions;

const ABOUT: &str = "\
Stead gives each member of a stateful service one lasting identity: its volume, its DNS name and its \
static IP. When a container moves to another host, the new one gets the same data, the same name and \
the same address, and no data is copied. Orchestrators drive it through the Container Storage \
Interface (CSI).";

const EXAMPLES: &str = "\
Examples:
  Try it on this machine, with hosts made of network namespaces:
    stead demo

  A whole driver on one host:
    stead all

  Who is where:
    stead get members

  Every option of a part that serves (controller, node, netagent, all) has an environment variable
  as well; `stead COMMAND --help` names it.";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "stead",
    version,
    about = "Lasting identity for the members of stateful services: volume, DNS name, static IP",
    long_about = ABOUT,
    after_long_help = format!("{EXAMPLES}\n\n{CODES}"),
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    log: LogOptions,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Controller(controller::Controller),
    Node(node::Node),
    Netagent(netagent::Netagent),
    All(all::All),
    Get(get::Get),
    Certificate(certificate::Certificate),
    Demo(demo::Demo),
    Completions(completions::Completions),
    Man(man::Man),
    Version(version::Version),
}

impl Cli {
    /// Does what was asked for.
    pub(crate) fn run(self) -> Result<(), Failure> {
        logs::start(&self.log)?;
        match self.command {
            Command::Controller(command) => block_on(command.run()),
            Command::Node(command) => block_on(command.run()),
            Command::Netagent(command) => block_on(command.run()),
            Command::All(command) => block_on(command.run()),
            Command::Get(command) => block_on(command.run()),
            Command::Certificate(command) => command.run(),
            Command::Demo(command) => block_on(command.run()),
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(),
            Command::Version(command) => command.run(),
        }
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no threads could be started: {error}")))?;
    let result = runtime.block_on(work);
    // Blocking work that has not ended (a copy, a `mkfs`) is completed by the repeat of its call; it
    // must not keep a process that was told to end.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn our_environment_variables_do_not_take_the_names_of_csi() {
        //= CSI "Packaging": a plugin's own variables do not begin with `CSI_`.
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            for argument in command.get_arguments() {
                let Some(name) = argument.get_env().and_then(|name| name.to_str()) else {
                    continue;
                };
                assert!(name.starts_with("STEAD_") || name == "CSI_ENDPOINT", "{name}");
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn every_option_of_a_part_can_come_from_the_environment() {
        let command = Cli::command();
        for part in ["controller", "node", "netagent", "all"] {
            let part = command.find_subcommand(part).unwrap();
            for option in part.get_opts() {
                assert!(option.get_env().is_some(), "{} {option}", part.get_name());
            }
        }
    }

    #[test]
    fn every_option_says_what_it_is() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {argument}", command.get_name());
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }
}
