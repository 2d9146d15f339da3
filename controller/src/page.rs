//! Paging: tokens that outlive any change of what is listed.
//!
//! A token names the last entry that was given, not a position: what comes or goes between two
//! pages neither repeats nor hides another entry.

use std::future::Future;
use std::str::FromStr;

use stead_model::port::{Key, PAGE_ENTRIES_MAX, Page};
use stead_model::record::Record;
use stead_model::registry::Stored;
use stead_model::{Error, Result};

/// What every token of ours begins with.
const PREFIX: &str = "after:";

/// One page.
#[derive(Debug, Clone)]
pub(crate) struct Paged<T> {
    pub(crate) items: Vec<T>,
    /// Whether there is at least one more entry behind it.
    pub(crate) more: bool,
}

/// A record of which only some are shown.
pub(crate) trait Listable: Record {
    fn is_listed(&self) -> bool;
}

/// The token that continues behind an entry.
pub(crate) fn token(last: &str) -> String {
    format!("{PREFIX}{last}")
}

/// The entry to continue behind. A token that is not ours is ABORTED (CSI, "ListVolumes Errors").
pub(crate) fn parse_token<T: FromStr<Err = Error>>(token: &str) -> Result<Option<T>> {
    if token.is_empty() {
        return Ok(None);
    }
    let last = token.strip_prefix(PREFIX).and_then(|last| last.parse().ok()).ok_or_else(|| {
        Error::busy("starting_token was not given by this driver: list again without one")
    })?;
    Ok(Some(last))
}

/// How many entries a request wants; 0 for all.
pub(crate) fn limit(max_entries: i32) -> Result<usize> {
    usize::try_from(max_entries)
        .map_err(|_| Error::invalid(format!("max_entries is {max_entries}: give 0 or more")))
}

/// Collects the listed records behind `after`, `limit` at most (0 for all).
pub(crate) async fn collect<R: Listable, F>(
    limit: usize,
    mut after: Option<Key>,
    fetch: impl Fn(Page) -> F,
) -> Result<Paged<R>>
where
    F: Future<Output = Result<Vec<Stored<R>>>>,
{
    let wanted = if limit == 0 { usize::MAX } else { limit };
    let batch_entries = wanted.saturating_add(1).min(PAGE_ENTRIES_MAX);
    let mut items = Vec::new();
    loop {
        let batch = fetch(Page { after, limit: batch_entries }).await?;
        let last = batch.len() < batch_entries;
        after = batch.last().map(|stored| stored.decoded.record.key());
        for stored in batch {
            if !stored.is_listed() {
                continue;
            }
            if items.len() == wanted {
                return Ok(Paged { items, more: true });
            }
            items.push(stored.decoded.record);
        }
        if last {
            return Ok(Paged { items, more: false });
        }
    }
}
