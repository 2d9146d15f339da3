//! What a run is reported as: a table for people, a line or JSON for machines.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::limit::Limit;
use crate::measure::{Line, ratio};

/// The memory of the driver.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rss {
    /// When it was warm and empty.
    pub start_kib: u64,
    /// The most it ever was.
    pub peak_kib: u64,
    /// When it was empty again.
    pub end_kib: u64,
}

/// What an operation costs in units of the machine's own limits.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// The operation.
    pub operation: String,
    /// Its p50 latency in bare durable writes.
    pub latency_fsyncs: f64,
    /// Its p50 latency in bare commits.
    pub latency_commits: f64,
    /// How many bare durable writes, one after the other, fit between two completions.
    pub each_fsyncs: f64,
}

impl Cost {
    /// Compares an operation.
    pub fn new(line: &Line, limit: &Limit) -> Self {
        Self {
            operation: line.operation.clone(),
            latency_fsyncs: ratio(line.p50_ms, limit.fsync_ms),
            latency_commits: ratio(line.p50_ms, limit.commit_ms),
            each_fsyncs: ratio(ratio(1e3, line.per_second), limit.fsync_ms),
        }
    }
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How many volumes lived at once.
    pub volumes: usize,
    /// How many calls were under way at once.
    pub concurrency: usize,
    /// One line for each operation, and for each kind of volume where the cost differs.
    pub operations: Vec<Line>,
    /// The mean time to list all volumes, page by page.
    pub list_ms: f64,
    /// The machine.
    pub limit: Limit,
    /// The operations in units of it.
    pub costs: Vec<Cost>,
    /// The driver's memory.
    pub rss: Rss,
    /// How many records stay by design.
    pub records_kept: usize,
}

impl Report {
    /// How much an operation's cost grew over the run; 0 where it did not run.
    fn ratio(&self, operation: &str) -> f64 {
        let line = self.operations.iter().find(|line| line.operation == operation);
        line.map_or(0.0, |line| line.ratio)
    }

    /// The line for machines.
    pub fn machine_line(&self) -> String {
        format!(
            "bench: volumes={} create_ratio={:.2} list_ms={:.1} publish_ratio={:.2} delete_ratio={:.2} rss_end_kib={}",
            self.volumes,
            self.ratio(CREATE),
            self.list_ms,
            self.ratio(PUBLISH),
            self.ratio(DELETE),
            self.rss.end_kib
        )
    }
}

/// The operations that the line for machines speaks of.
pub const CREATE: &str = "CreateVolume";
/// See [`CREATE`].
pub const PUBLISH: &str = "ControllerPublish";
/// See [`CREATE`].
pub const DELETE: &str = "DeleteVolume";

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<20} {:>6} {:>8} {:>8} {:>9} {:>9} {:>10} {:>8}",
            "operation",
            "count",
            "p50 ms",
            "p99 ms",
            "first ms",
            "last ms",
            "last/first",
            "calls/s"
        )?;
        for line in &self.operations {
            let per_second = match line.per_second {
                0.0 => String::new(),
                some => format!("{some:.0}"),
            };
            let row = format!(
                "{:<20} {:>6} {:>8.2} {:>8.2} {:>9.2} {:>9.2} {:>10.2} {per_second:>8}",
                line.operation,
                line.count,
                line.p50_ms,
                line.p99_ms,
                line.first_ms,
                line.last_ms,
                line.ratio,
            );
            writeln!(f, "{}", row.trim_end())?;
        }
        writeln!(
            f,
            "\nfirst, last: the mean of the first and the last tenth; flat cost is a ratio of 1"
        )?;
        let Limit { fsync_ms, fsync_range_ms: files, commit_ms, commit_range_ms: commits } =
            self.limit;
        writeln!(
            f,
            "limits of this machine: durable 4 KiB file {fsync_ms:.2} ms ({:.2} to {:.2} between phases), \
             database commit {commit_ms:.2} ms ({:.2} to {:.2})",
            files.0, files.1, commits.0, commits.1
        )?;
        for cost in &self.costs {
            writeln!(
                f,
                "{} = {:.1} bare fsyncs = {:.1} bare commits; with {} at once, one each {:.1} bare fsyncs",
                cost.operation,
                cost.latency_fsyncs,
                cost.latency_commits,
                self.concurrency,
                cost.each_fsyncs
            )?;
        }
        let Rss { start_kib, peak_kib, end_kib } = self.rss;
        writeln!(
            f,
            "driver in RAM: {start_kib} KiB at start, {peak_kib} at most, {end_kib} at end"
        )?;
        writeln!(f, "nothing left but {} records that stay by design", self.records_kept)?;
        write!(f, "{}", self.machine_line())
    }
}
