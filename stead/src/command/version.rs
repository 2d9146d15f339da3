//! `stead version`

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::failure::Failure;
use crate::output;

/// The version of the specification that we speak.
const CSI: &str = "1.13.0";

/// Print the version of this program and of CSI
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  stead version
  stead version -o json | jq -r .version")]
pub(super) struct Version {
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A line for people.
    Text,
    /// JSON, for scripts.
    Json,
}

#[derive(Serialize)]
struct Facts {
    version: &'static str,
    csi: &'static str,
    architecture: &'static str,
}

impl Version {
    pub(super) fn run(self) -> Result<(), Failure> {
        let facts = Facts {
            version: env!("CARGO_PKG_VERSION"),
            csi: CSI,
            architecture: std::env::consts::ARCH,
        };
        let text = match self.output {
            Format::Text => {
                format!("stead {} (CSI {}, {})\n", facts.version, facts.csi, facts.architecture)
            }
            Format::Json => output::json(&facts)?,
        };
        output::print(&text)
    }
}
