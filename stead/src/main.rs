//! The one binary of Stead: the command line, the configuration and the wiring. It has no logic of
//! its own: what a part does, the part's crate says.

mod command;
mod failure;
mod logs;
mod option;
mod output;
mod serve;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = command::Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
