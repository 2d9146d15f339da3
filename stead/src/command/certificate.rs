//! `stead certificate`

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use stead_model::clock::{BootClock, Clock};
use stead_model::name::NodeId;
use stead_proto::certificate::{self, Validity, generate_ca};

use crate::failure::Failure;

const DAY: Duration = Duration::from_secs(86_400);

/// Make the certificates by which hosts know each other
#[derive(Debug, Args)]
#[command(
    long_about = "\
Make the certificates by which hosts know each other.

The store is served to other hosts only with certificates on both sides. One authority signs all of \
them: make it once, keep its key off the hosts, and issue one certificate for each host. A process \
reads its certificate when it starts: restart it when you have issued a new one.",
    after_long_help = "\
Examples:
  Make the authority:
    stead certificate ca --out ./ca

  Issue one for the controller and one for a node:
    stead certificate issue --ca ./ca --name controller --san 10.0.0.5 --san ctl.example --out ./ctl
    stead certificate issue --ca ./ca --name node-1 --san 10.0.0.11 --out ./node-1

  Use them:
    stead controller --pool-dir /mnt/pool --pool-shared --store-listen 10.0.0.5:9800 \\
      --tls-ca ctl/ca.crt --tls-cert ctl/tls.crt --tls-key ctl/tls.key
    stead node --pool-dir /mnt/pool --pool-shared --store https://10.0.0.5:9800 \\
      --tls-ca node-1/ca.crt --tls-cert node-1/tls.crt --tls-key node-1/tls.key"
)]
pub(super) struct Certificate {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an authority: ca.crt for every host, ca.key for nobody but you
    #[command(after_long_help = "\
Examples:
  stead certificate ca --out ./ca")]
    Ca {
        /// The directory to write ca.crt and ca.key to; one that holds a key already is refused
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// How many days it is valid
        #[arg(long, value_name = "NUMBER", default_value = "3650",
              value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Issue a certificate for one host: ca.crt, tls.crt and tls.key
    #[command(after_long_help = "\
Examples:
  stead certificate issue --ca ./ca --out ./node-1 \\
    --name node-1 --san 10.0.0.11 --san node-1.example")]
    Issue {
        /// The directory of the authority
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// The name of the host
        #[arg(long, value_name = "NAME")]
        name: NodeId,
        /// A DNS name or an address that others reach the host by; may be repeated
        #[arg(long, value_name = "NAME|IP", value_delimiter = ',')]
        san: Vec<String>,
        /// How many days it is valid
        #[arg(long, value_name = "NUMBER", default_value = "825",
              value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
        /// The directory to write ca.crt, tls.crt and tls.key to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

impl Certificate {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Ca { out, days } => authority(&out, days),
            Action::Issue { ca, name, san, days, out } => issue(&ca, &name, &san, days, &out),
        }
    }
}

fn authority(out: &Path, days: u32) -> Result<(), Failure> {
    let made = generate_ca(validity(days))?;
    prepare(out)?;
    write_key(&out.join("ca.key"), &made.key)?;
    write(&out.join("ca.crt"), &made.certificate)
}

fn issue(ca: &Path, name: &NodeId, san: &[String], days: u32, out: &Path) -> Result<(), Failure> {
    let (certificate, key) = (read(&ca.join("ca.crt"))?, read(&ca.join("ca.key"))?);
    let made = certificate::issue(&key, name, san, validity(days))?;
    prepare(out)?;
    write_key(&out.join("tls.key"), &made.key)?;
    write(&out.join("tls.crt"), &made.certificate)?;
    write(&out.join("ca.crt"), &certificate)
}

fn validity(days: u32) -> Validity {
    Validity { now: BootClock.wall(), lasts: DAY * days }
}

fn prepare(dir: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| failed("make", dir, &error))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::not_found(format!(
            "there is no '{}': make the authority first, by `stead certificate ca --out DIR`",
            path.display()
        )),
        _ => failed("read", path, &error),
    })
}

/// Writes a key that nobody else can read; one that exists is kept, since what was signed by it or
/// for it would be worthless without.
fn write_key(path: &Path, key: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(key.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(format!(
            "'{}' exists and is not replaced: name another directory, or move it away",
            path.display()
        )),
        _ => failed("write", path, &error),
    })
}

fn write(path: &Path, certificate: &str) -> Result<(), Failure> {
    fs::write(path, certificate).map_err(|error| failed("write", path, &error))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("could not {what} '{}': {error}", path.display()))
}
