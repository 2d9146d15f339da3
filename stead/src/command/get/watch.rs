//! `stead get --watch`: each row as it changes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::SelectAll;
use serde_json::json;
use stead_model::Kind as ErrorKind;
use stead_model::name::ClusterName;
use stead_model::port::Changes;
use stead_model::registry::Registry;

use super::row::{Filter, Row};
use super::{Kind, head};
use crate::failure::Failure;
use crate::option::OutputFormat;
use crate::output::{self, Columns};

/// How long changes are gathered: a move writes several records within milliseconds.
const GATHER: Duration = Duration::from_millis(50);

/// How long to wait before a store that went away is asked again.
const AGAIN: Duration = Duration::from_secs(1);

type Rows = BTreeMap<(Option<ClusterName>, String), Row>;

/// Prints the rows, and then each that changes, until the reader goes away.
pub(super) async fn run(
    registry: &Registry,
    kind: Kind,
    filter: &Filter,
    format: OutputFormat,
) -> Result<(), Failure> {
    let mut printer = Printer::new(kind, format)?;
    let mut shown = Rows::new();
    loop {
        match follow(registry, kind, filter, &mut printer, &mut shown).await {
            Ok(()) => {}
            // Its process is being restarted, or was too busy to keep up with us: nothing is lost,
            // because all is read anew.
            Err(Interruption::Store) => eprintln!("stead: the store does not answer: trying again"),
            Err(Interruption::Failure(failure)) => return Err(failure),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

enum Interruption {
    Store,
    Failure(Failure),
}

impl From<Failure> for Interruption {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<stead_model::Error> for Interruption {
    fn from(error: stead_model::Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable => Self::Store,
            _ => Self::Failure(error.into()),
        }
    }
}

/// Prints changes until a watch ends.
async fn follow(
    registry: &Registry,
    kind: Kind,
    filter: &Filter,
    printer: &mut Printer,
    shown: &mut Rows,
) -> Result<(), Interruption> {
    // First the watches, then the list: what changes in between is seen twice, never missed.
    let mut changes: SelectAll<Changes> = SelectAll::new();
    for record in kind.records() {
        changes.push(registry.store().watch(&format!("{record}/")).await?);
    }
    loop {
        let rows = kind.rows(registry).await.map_err(|failure| {
            if failure.is_unavailable() { Interruption::Store } else { failure.into() }
        })?;
        let now: Rows = rows
            .into_iter()
            .filter(|row| filter.takes(row))
            .map(|row| ((row.cluster.clone(), row.name.clone()), row))
            .collect();
        printer.differences(shown, &now)?;
        *shown = now;
        let Some(change) = changes.next().await else { return Ok(()) };
        change?;
        tokio::time::sleep(GATHER).await;
        while let Some(Some(change)) = futures::FutureExt::now_or_never(changes.next()) {
            change?;
        }
    }
}

struct Printer {
    columns: Columns,
    format: OutputFormat,
}

impl Printer {
    fn new(kind: Kind, format: OutputFormat) -> Result<Self, Failure> {
        let mut printer = Self { columns: Columns::default(), format };
        if format != OutputFormat::Json {
            let mut head = head(kind, printer.is_wide());
            head.insert(0, "EVENT".to_owned());
            printer.line(&head)?;
        }
        Ok(printer)
    }

    fn is_wide(&self) -> bool {
        self.format == OutputFormat::Wide
    }

    fn differences(&mut self, before: &Rows, now: &Rows) -> Result<(), Failure> {
        for (key, row) in before {
            if !now.contains_key(key) {
                self.event("deleted", row)?;
            }
        }
        for (key, row) in now {
            let known = before.get(key);
            let same = match (self.format, known) {
                (_, None) => false,
                (OutputFormat::Json, Some(known)) => known.object == row.object,
                (_, Some(known)) => known.cells(self.is_wide()) == row.cells(self.is_wide()),
            };
            if !same {
                self.event("put", row)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &str, row: &Row) -> Result<(), Failure> {
        if self.format == OutputFormat::Json {
            let line = json!({ "event": event, "object": row.object });
            return output::print(&output::json_line(&line)?);
        }
        let mut cells = row.cells(self.is_wide());
        cells.insert(0, event.to_owned());
        self.line(&cells)
    }

    fn line(&mut self, cells: &[String]) -> Result<(), Failure> {
        self.columns.fit([cells]);
        output::print(&self.columns.line(cells))
    }
}
