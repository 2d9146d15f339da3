//! What is shown of one object.

use serde::Serialize;
use serde_json::Value;
use stead_model::name::ClusterName;

use crate::failure::Failure;

/// What stands in a table where there is nothing.
pub(super) const NOTHING: &str = "-";

/// One object: its cells, and the whole of it for scripts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Its cluster, where it belongs to one.
    pub(super) cluster: Option<ClusterName>,
    /// Its name.
    pub(super) name: String,
    /// The cells of the table.
    pub(super) narrow: Vec<String>,
    /// The cells that `wide` adds.
    pub(super) more: Vec<String>,
    /// The object.
    pub(super) object: Value,
}

impl Row {
    /// The cells.
    pub(super) fn cells(&self, wide: bool) -> Vec<String> {
        let more = if wide { self.more.as_slice() } else { &[] };
        self.narrow.iter().chain(more).cloned().collect()
    }
}

/// An object in the form that scripts read.
pub(super) fn object(value: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value)
        .map_err(|error| Failure::new(format!("the result cannot be printed: {error}")))
}

/// The items joined by commas, or the sign for none.
pub(super) fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let text = items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",");
    if text.is_empty() { NOTHING.to_owned() } else { text }
}

/// The item, or the sign for none.
pub(super) fn or_nothing<T: ToString>(item: Option<T>) -> String {
    item.map_or_else(|| NOTHING.to_owned(), |item| item.to_string())
}

/// A size as people read it: in the largest binary unit that leaves at least 1.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = None;
    let mut amount = bytes as f64;
    for next in UNITS {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = Some(next);
    }
    let Some(unit) = unit else { return format!("{bytes} B") };
    let text = format!("{amount:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// Which objects are wanted.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    name: Option<String>,
    cluster: Option<ClusterName>,
}

impl Filter {
    /// Those of this name and of this cluster, where one is given.
    pub(super) fn new(name: Option<String>, cluster: Option<ClusterName>) -> Self {
        Self { name, cluster }
    }

    /// Whether one object was asked for by its name.
    pub(super) fn is_one(&self) -> bool {
        self.name.is_some()
    }

    /// Whether the object is wanted. What belongs to no cluster belongs to all of them.
    pub(super) fn takes(&self, row: &Row) -> bool {
        let cluster = self.cluster.as_ref().zip(row.cluster.as_ref());
        self.name.as_ref().is_none_or(|name| *name == row.name)
            && cluster.is_none_or(|(wanted, found)| wanted == found)
    }

    /// The wanted objects; one that was asked for by name has to exist, and only once.
    pub(super) fn apply(&self, noun: &str, rows: Vec<Row>) -> Result<Vec<Row>, Failure> {
        let rows: Vec<Row> = rows.into_iter().filter(|row| self.takes(row)).collect();
        let Some(name) = &self.name else { return Ok(rows) };
        match rows.as_slice() {
            [_] => Ok(rows),
            [] => Err(Failure::not_found(format!(
                "there is no {noun} '{name}': `stead get {noun}s` lists those there are"
            ))),
            several => {
                let clusters = joined(several.iter().filter_map(|row| row.cluster.as_ref()));
                Err(Failure::usage(format!(
                    "there is a {noun} '{name}' in several clusters ({clusters}): add --cluster"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cluster: &str, name: &str) -> Row {
        Row {
            cluster: Some(cluster.parse().unwrap()),
            name: name.into(),
            narrow: vec![name.into()],
            more: vec![cluster.into()],
            object: Value::Null,
        }
    }

    #[test]
    fn a_name_that_is_in_two_clusters_asks_for_one() {
        let rows = vec![row("a", "m-0"), row("b", "m-0"), row("b", "m-1")];
        let named = |cluster: Option<&str>, name: &str| {
            Filter::new(Some(name.into()), cluster.map(|c| c.parse().unwrap()))
                .apply("member", rows.clone())
        };
        assert!(named(None, "m-0").is_err());
        assert_eq!(named(Some("b"), "m-0").unwrap(), [rows[1].clone()]);
        assert_eq!(named(None, "m-1").unwrap(), [rows[2].clone()]);
        assert!(named(Some("a"), "m-1").is_err());
        assert_eq!(Filter::new(None, None).apply("member", rows.clone()).unwrap().len(), 3);
    }

    #[test]
    fn a_size_is_in_the_largest_unit_that_leaves_one() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1024), "1 KiB");
        assert_eq!(size(10 << 30), "10 GiB");
        assert_eq!(size((3 << 30) / 2), "1.5 GiB");
    }
}
