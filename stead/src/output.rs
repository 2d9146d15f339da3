//! What a command prints.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Prints text on standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader has seen enough: `stead get members | head -1` is no failure of ours, but
        // there is nobody left to print for.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(format!("could not write the result: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// A value as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(unprintable)
}

/// A value as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map(|text| text + "\n").map_err(unprintable)
}

/// A value as a YAML document.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    serde_yaml_ng::to_string(value).map_err(unprintable)
}

fn unprintable(error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("the result cannot be printed: {error}"))
}

/// Rows in aligned columns, two spaces apart.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    widths: Vec<usize>,
}

impl Columns {
    /// Makes the columns wide enough for these rows; they never become narrower.
    pub(crate) fn fit<'r>(&mut self, rows: impl IntoIterator<Item = &'r [String]>) {
        for row in rows {
            self.widths.resize(self.widths.len().max(row.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
    }

    /// A row as a line. The last cell is not padded.
    pub(crate) fn line(&self, row: &[String]) -> String {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&self.widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["A".to_owned(), "B".to_owned()], vec!["long".to_owned(), "x".to_owned()]];
        let mut columns = Columns::default();
        columns.fit(rows.iter().map(Vec::as_slice));
        let text: String = rows.iter().map(|row| columns.line(row)).collect();
        assert_eq!(text, "A     B\nlong  x\n");
    }
}
