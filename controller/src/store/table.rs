//! The tables of the database: what one operation does within a transaction.

use bytes::Bytes;
use redb::{ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use stead_model::port::{Change, Entry, Key, Page, Revision};

/// Keys with the revision and the value of each.
const ENTRIES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("entries");
/// The last revision given and the version of the tables.
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");

const LAST_REVISION: &str = "revision";
const SCHEMA: &str = "schema";

/// The version of the tables that this program writes.
pub(crate) const SCHEMA_VERSION: u64 = 1;

/// A write.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    /// Of a key that is absent.
    Create { key: Key, value: Bytes },
    /// Of a key with this revision.
    Update { key: Key, value: Bytes, at: Revision },
    /// Away with a key that has this revision.
    Delete { key: Key, at: Revision },
}

/// What a write came to within its transaction.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was done; the change is absent where there was nothing to do.
    Done(Revision, Option<Change>),
    /// The key is taken.
    Exists(Key),
    /// The key has another revision, or is gone.
    Changed(Key),
}

/// Makes the tables, and returns the version of those that were there.
pub(crate) fn prepare(database: &redb::Database) -> Result<u64, redb::Error> {
    if let Some(schema) = schema(database)? {
        return Ok(schema); // Nothing is written then: a full disk can still be read.
    }
    let transaction = database.begin_write()?;
    {
        transaction.open_table(ENTRIES)?;
        let mut counters = transaction.open_table(COUNTERS)?;
        counters.insert(SCHEMA, SCHEMA_VERSION)?;
    }
    transaction.commit()?;
    Ok(SCHEMA_VERSION)
}

fn schema(database: &redb::Database) -> Result<Option<u64>, redb::Error> {
    match database.begin_read()?.open_table(COUNTERS) {
        Ok(counters) => Ok(counters.get(SCHEMA)?.map(|schema| schema.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Carries out one write. A refused one leaves the transaction as it was.
pub(crate) fn apply(transaction: &WriteTransaction, write: Write) -> Result<Outcome, redb::Error> {
    let mut entries = transaction.open_table(ENTRIES)?;
    let mut counters = transaction.open_table(COUNTERS)?;
    let key = match &write {
        Write::Create { key, .. } | Write::Update { key, .. } | Write::Delete { key, .. } => key,
    };
    let now = entries.get(key.as_str())?.map(|entry| Revision(entry.value().0));
    let (key, value) = match (write, now) {
        (Write::Create { key, .. }, Some(_)) => return Ok(Outcome::Exists(key)),
        (Write::Create { key, value }, None) => (key, Some(value)),
        (Write::Update { key, value, at }, now) if now == Some(at) => (key, Some(value)),
        (Write::Delete { key, at }, now) if now == Some(at) => (key, None),
        (Write::Delete { at, .. }, None) => return Ok(Outcome::Done(at, None)),
        (Write::Update { key, .. } | Write::Delete { key, .. }, _) => {
            return Ok(Outcome::Changed(key));
        }
    };
    let last = counters.get(LAST_REVISION)?.map_or(0, |last| last.value());
    let revision = Revision(last + 1);
    counters.insert(LAST_REVISION, revision.0)?;
    let change = match value {
        Some(value) => {
            entries.insert(key.as_str(), (revision.0, &value[..]))?;
            Change::Put(Entry { key, value, revision })
        }
        None => {
            entries.remove(key.as_str())?;
            Change::Deleted(key)
        }
    };
    Ok(Outcome::Done(revision, Some(change)))
}

/// The entry under a key.
pub(crate) fn get(database: &redb::Database, key: &Key) -> Result<Option<Entry>, redb::Error> {
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    let entry = entries.get(key.as_str())?;
    Ok(entry.map(|entry| {
        let (revision, value) = entry.value();
        let value = Bytes::copy_from_slice(value);
        Entry { key: key.clone(), value, revision: Revision(revision) }
    }))
}

/// One page of the entries whose key begins with `prefix`.
pub(crate) fn list(
    database: &redb::Database,
    prefix: &str,
    page: &Page,
) -> Result<Vec<Entry>, redb::Error> {
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    let after = page.after.as_ref().map(Key::as_str);
    let from = after.filter(|after| *after > prefix).unwrap_or(prefix);
    let mut found = Vec::new();
    for entry in entries.range(from..)? {
        let (key, value) = entry?;
        let key = key.value();
        if !key.starts_with(prefix) || found.len() >= page.entries_max() {
            break;
        }
        if after.is_some_and(|after| key <= after) {
            continue;
        }
        let (revision, value) = value.value();
        let Ok(key) = key.parse() else { continue }; // An empty key was never written.
        found.push(Entry {
            key,
            value: Bytes::copy_from_slice(value),
            revision: Revision(revision),
        });
    }
    Ok(found)
}
