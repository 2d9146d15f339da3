//! The metrics of the process, as Prometheus reads them.

use std::fs;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::failure::Failure;

/// How often old samples are folded: without it, histograms grow between two scrapes.
pub(super) const UPKEEP: Duration = Duration::from_secs(5);

/// The upper ends of the buckets of durations: a compare-and-swap takes milliseconds, a copy minutes.
const SECONDS: [f64; 12] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

/// Starts recording for the whole process.
pub(super) fn start() -> Result<PrometheusHandle, Failure> {
    let failed = |error: BuildError| Failure::new(format!("metrics did not start: {error}"));
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(failed)?;
    metrics::describe_gauge!("process_resident_memory_bytes", "Resident memory of the process");
    metrics::describe_gauge!("process_open_fds", "Open file descriptors of the process");
    metrics::describe_gauge!("stead_build_info", "Always 1; the labels say what is running");
    metrics::gauge!("stead_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Brings the metrics of the process itself up to date.
pub(super) fn measure() {
    if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident)
    {
        metrics::gauge!("process_resident_memory_bytes").set(bytes as f64);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory that is being read.
        let open = entries.count().saturating_sub(1);
        metrics::gauge!("process_open_fds").set(open as f64);
    }
}

/// Reads the resident set of proc_pid_status(5), which is in KiB.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t   1234 kB\n"), Some(1234 * 1024));
        assert_eq!(resident("Name:\tx\n"), None);
    }
}
