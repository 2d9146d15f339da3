//! `stead get`

mod member;
mod node;
mod pool;
mod row;
mod service;
mod snapshot;
mod volume;
mod watch;

use clap::{Args, ValueEnum};
use serde_json::Value;
use stead_model::name::ClusterName;
use stead_model::registry::Registry;

use crate::failure::{CODES, Failure};
use crate::option::{OutputFormat, StoreOptions, TlsOptions};
use crate::output::{self, Columns};
use crate::wiring;
use row::{Filter, Row};

/// Show what the identity store knows
#[derive(Debug, Args)]
#[command(
    long_about = "\
Show what the identity store knows: who is who, who holds what, and where.

Reads the store (--store) and changes nothing.",
    after_long_help = format!("\
Examples:
  Which node holds which member:
    stead get members

  One member as JSON:
    stead get members mongo-0 --cluster prod -o json

  Rows as they change, during a failover:
    stead get members --watch

  From another host:
    stead get nodes --store https://10.0.0.5:9800 \\
      --tls-ca ca.crt --tls-cert tls.crt --tls-key tls.key

With -o json or yaml, a NAME gives one object, none gives a list; with --watch, -o json prints one
object a line, {{\"event\": \"put\"|\"deleted\", \"object\": ...}}.

{CODES}")
)]
pub(super) struct Get {
    /// What to show
    #[arg(value_enum)]
    kind: Kind,

    /// Only the one of this name; it is an error (code 3) if there is none
    name: Option<String>,

    /// Only those of this cluster
    #[arg(long, value_name = "NAME", env = "STEAD_CLUSTER")]
    cluster: Option<ClusterName>,

    /// How the result is printed
    #[arg(short, long, value_enum, default_value = "table")]
    output: OutputFormat,

    /// Go on, and print each row that changes
    #[arg(short, long)]
    watch: bool,

    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    tls: TlsOptions,
}

/// What there is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Members: who holds them, where they are, what they are called.
    #[value(alias = "member")]
    Members,
    /// Services and their members.
    #[value(alias = "service")]
    Services,
    /// Volumes and whose they are.
    #[value(alias = "volume")]
    Volumes,
    /// Nodes and their leases.
    #[value(alias = "node")]
    Nodes,
    /// Snapshots.
    #[value(alias = "snapshot")]
    Snapshots,
    /// Pools of addresses.
    #[value(alias = "pool")]
    Pools,
}

impl Kind {
    /// The word for one of them.
    fn noun(self) -> &'static str {
        match self {
            Self::Members => "member",
            Self::Services => "service",
            Self::Volumes => "volume",
            Self::Nodes => "node",
            Self::Snapshots => "snapshot",
            Self::Pools => "pool",
        }
    }

    /// The headings of the table, and those that `wide` adds.
    fn head(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Members => member::HEAD,
            Self::Services => service::HEAD,
            Self::Volumes => volume::HEAD,
            Self::Nodes => node::HEAD,
            Self::Snapshots => snapshot::HEAD,
            Self::Pools => pool::HEAD,
        }
    }

    /// The kinds of the records that its rows are made of.
    fn records(self) -> &'static [&'static str] {
        match self {
            Self::Members => member::RECORDS,
            Self::Services => service::RECORDS,
            Self::Volumes => volume::RECORDS,
            Self::Nodes => node::RECORDS,
            Self::Snapshots => snapshot::RECORDS,
            Self::Pools => pool::RECORDS,
        }
    }

    async fn rows(self, registry: &Registry) -> Result<Vec<Row>, Failure> {
        match self {
            Self::Members => member::rows(registry).await,
            Self::Services => service::rows(registry).await,
            Self::Volumes => volume::rows(registry).await,
            Self::Nodes => node::rows(registry).await,
            Self::Snapshots => snapshot::rows(registry).await,
            Self::Pools => pool::rows(registry).await,
        }
    }
}

impl Get {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let advice = format!(
            "is `stead controller` or `stead all` running, and does it serve the store at {} (--store)?",
            self.store.store
        );
        self.show().await.map_err(|failure| failure.advice(&advice))
    }

    async fn show(self) -> Result<(), Failure> {
        if self.watch && self.output == OutputFormat::Yaml {
            return Err(Failure::usage(
                "--watch prints a table or JSON: use -o table, wide or json",
            ));
        }
        let registry = wiring::registry(&self.store.store, self.tls.files().as_ref())?;
        let filter = Filter::new(self.name.clone(), self.cluster.clone());
        if self.watch {
            return watch::run(&registry, self.kind, &filter, self.output).await;
        }
        let rows = filter.apply(self.kind.noun(), self.kind.rows(&registry).await?)?;
        let one = filter.is_one();
        output::print(&match self.output {
            OutputFormat::Table => table(self.kind, &rows, false),
            OutputFormat::Wide => table(self.kind, &rows, true),
            OutputFormat::Json => output::json(&objects(rows, one))?,
            OutputFormat::Yaml => output::yaml(&objects(rows, one))?,
        })
    }
}

/// The headings as a row.
fn head(kind: Kind, wide: bool) -> Vec<String> {
    let (narrow, more) = kind.head();
    let more = if wide { more } else { &[] };
    narrow.iter().chain(more).map(|heading| (*heading).to_owned()).collect()
}

fn table(kind: Kind, rows: &[Row], wide: bool) -> String {
    let lines: Vec<Vec<String>> =
        std::iter::once(head(kind, wide)).chain(rows.iter().map(|row| row.cells(wide))).collect();
    let mut columns = Columns::default();
    columns.fit(lines.iter().map(Vec::as_slice));
    lines.iter().map(|line| columns.line(line)).collect()
}

fn objects(rows: Vec<Row>, one: bool) -> Value {
    let mut objects = rows.into_iter().map(|row| row.object);
    match (one, objects.next()) {
        (true, Some(object)) => object,
        (_, first) => first.into_iter().chain(objects).collect(),
    }
}
