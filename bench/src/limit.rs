//! What the machine needs for the least that a durable operation has to do.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use redb::{Database, TableDefinition};
use serde::Serialize;
use tokio::time::Instant;

use crate::measure::{median, millis};
use crate::{BenchError, Result};

/// How often each limit is measured in one go.
const REPEATS: usize = 40;
/// The size of the bare write.
const FILE_BYTES: usize = 4096;
/// The size of the bare record, near that of a member's.
const RECORD_BYTES: usize = 512;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("limit");

/// Samples of both limits, one list for each time that they were measured.
#[derive(Debug, Default)]
pub struct Limits {
    files: Vec<Vec<Duration>>,
    commits: Vec<Vec<Duration>>,
}

/// Both limits: the median of all samples, and the least and the greatest median of one time, which
/// tell how much else the machine had to do.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limit {
    /// A new file of 4 KiB, flushed.
    pub fsync_ms: f64,
    /// Its least and its greatest.
    pub fsync_range_ms: (f64, f64),
    /// One record in one transaction of the store's database, flushed.
    pub commit_ms: f64,
    /// Its least and its greatest.
    pub commit_range_ms: (f64, f64),
}

impl Limits {
    /// Measures in `dir`, which has to be on the file system of the driver's own state. Called between
    /// the phases of the work, it evens out what else the machine does.
    pub fn measure(&mut self, dir: &Path) -> Result<()> {
        let dir = tempfile::tempdir_in(dir)
            .map_err(|error| BenchError::io("make a directory to write to", error))?;
        let mut files = Vec::new();
        for index in 0..REPEATS {
            let began = Instant::now();
            write_file(&dir.path().join(index.to_string()))
                .map_err(|error| BenchError::io("write a file to compare with", error))?;
            files.push(began.elapsed());
        }
        let database =
            Database::create(dir.path().join("limit.redb")).map_err(redb::Error::from)?;
        let mut commits = Vec::new();
        for index in 0..=REPEATS {
            let began = Instant::now();
            commit(&database, index as u64)?;
            // The first makes the table.
            if index > 0 {
                commits.push(began.elapsed());
            }
        }
        self.files.push(files);
        self.commits.push(commits);
        Ok(())
    }

    /// The medians.
    pub fn medians(&self) -> Limit {
        let (fsync_ms, fsync_range_ms) = summary(&self.files);
        let (commit_ms, commit_range_ms) = summary(&self.commits);
        Limit { fsync_ms, fsync_range_ms, commit_ms, commit_range_ms }
    }
}

fn summary(times: &[Vec<Duration>]) -> (f64, (f64, f64)) {
    let medians: Vec<_> = times.iter().map(|samples| millis(median(samples.clone()))).collect();
    let least = medians.iter().copied().reduce(f64::min).unwrap_or_default();
    let greatest = medians.iter().copied().reduce(f64::max).unwrap_or_default();
    (millis(median(times.concat())), (least, greatest))
}

fn write_file(path: &Path) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(&[0x5a; FILE_BYTES])?;
    file.sync_all()
}

fn commit(database: &Database, key: u64) -> std::result::Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(TABLE)?.insert(key, &[0x5a; RECORD_BYTES][..])?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_are_measured_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let mut limits = Limits::default();
        limits.measure(dir.path()).unwrap();
        limits.measure(dir.path()).unwrap();
        let limit = limits.medians();
        for (all, (least, most)) in
            [(limit.fsync_ms, limit.fsync_range_ms), (limit.commit_ms, limit.commit_range_ms)]
        {
            assert!(0.0 < least && least <= all && all <= most, "{limit:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
