//! `stead demo`, and the client that it starts.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use stead_rig::demo::{self, Step};
use stead_rig::driver;

use crate::failure::Failure;

/// Show on this machine how a member moves with its data, its name and its address
#[derive(Debug, Args)]
#[command(
    // The one subcommand is for the demo itself.
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    long_about = "\
Show on this machine how a member moves with its data, its name and its address.

Hosts are made of network namespaces on a bridge. A Redis server runs on one of them as a member, \
and a client writes to it by its DNS name. The member is moved to the other host as planned; then \
that host loses power, and the member comes back on the first. The client measures how long it could \
not write, and in the end reads back every write that was acknowledged. Needs root and redis-server; \
touches nothing but what it made itself, and clears that away when it ends.",
    after_long_help = "\
Examples:
  stead demo
  stead demo -o json   # the report for a script
  stead demo --keep    # leaves the hosts in place, to look around

The last line of the report is for scripts. The exit code is 1 if a write was lost or the member did
not come back."
)]
pub(super) struct Demo {
    /// Leave the hosts in place when it has ended, until Ctrl-C
    #[arg(long)]
    keep: bool,

    /// How the report is printed; the steps are told on standard error where it is json
    #[arg(short, long, value_enum, default_value = "human")]
    output: Output,

    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    #[command(hide = true)]
    Client(Client),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The steps as they are done, and a summary.
    Human,
    /// One JSON object.
    Json,
}

impl Demo {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if let Some(Part::Client(client)) = self.part {
            return client.run().await;
        }
        let options =
            demo::Options { binary: driver::binary()?, settings: driver::Settings::default() };
        let json = self.output == Output::Json;
        let progress = |step: &Step| {
            if json {
                eprintln!("{step}");
            } else {
                println!("{step}");
            }
        };
        let told = demo::run(options, &progress).await?;
        let text = if json {
            serde_json::to_string_pretty(&told.report).map_err(|error| {
                Failure::new(format!("the report could not be printed: {error}"))
            })?
        } else {
            told.report.to_string()
        };
        println!("{text}");
        let lost = told.report.lost_writes;
        if self.keep {
            eprintln!("{}", told.directions());
            told.linger().await;
        }
        match lost {
            0 => Ok(()),
            lost => Err(Failure::new(format!("{lost} acknowledged writes were lost"))),
        }
    }
}

/// Write to a member by its name until the input ends, then read back
#[derive(Debug, Args)]
struct Client {
    /// The DNS server to ask
    #[arg(long, value_name = "IP:PORT")]
    dns: SocketAddr,
    /// The DNS name of the member
    #[arg(long)]
    name: String,
    /// The port of the member
    #[arg(long)]
    port: u16,
    /// The file that acknowledged writes are noted in
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
}

impl Client {
    async fn run(self) -> Result<(), Failure> {
        let Self { dns, name, port, ledger } = self;
        Ok(demo::client::run(demo::client::Options { dns, name, port, ledger }).await?)
    }
}
