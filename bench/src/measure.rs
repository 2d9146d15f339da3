//! Latencies by position: what the first and the last calls of a run cost.

use std::time::Duration;

use serde::Serialize;

/// The latencies of one operation, each with its place in the run.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Place and latency.
    pub calls: Vec<(usize, Duration)>,
    /// How long the whole run took.
    pub wall: Duration,
}

/// What is said of one operation.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The operation.
    pub operation: String,
    /// How many calls there were.
    pub count: usize,
    /// Half of the calls took no longer.
    pub p50_ms: f64,
    /// 99 of 100 calls took no longer.
    pub p99_ms: f64,
    /// The mean of the first tenth of the run.
    pub first_ms: f64,
    /// The mean of the last tenth of the run.
    pub last_ms: f64,
    /// How much the cost grew from the first tenth to the last: 1 is flat.
    pub ratio: f64,
    /// Calls in a second, over the whole run; 0 for a part of one.
    pub per_second: f64,
}

impl Samples {
    /// The samples at the places that `keep` picks; a part of a run has no wall time of its own.
    pub fn only(&self, keep: impl Fn(usize) -> bool) -> Self {
        let calls = self.calls.iter().copied().filter(|(place, _)| keep(*place)).collect();
        Self { calls, wall: Duration::ZERO }
    }

    /// Sums them up.
    pub fn line(&self, operation: &str) -> Line {
        let mut calls = self.calls.clone();
        calls.sort_by_key(|(place, _)| *place);
        let latencies: Vec<_> = calls.iter().map(|(_, latency)| *latency).collect();
        let tenth = (latencies.len() / 10).max(1).min(latencies.len());
        let first_ms = mean(&latencies[..tenth]);
        let last_ms = mean(&latencies[latencies.len() - tenth..]);
        Line {
            operation: operation.to_owned(),
            count: latencies.len(),
            p50_ms: millis(quantile(latencies.clone(), 0.50)),
            p99_ms: millis(quantile(latencies.clone(), 0.99)),
            first_ms,
            last_ms,
            ratio: ratio(last_ms, first_ms),
            per_second: ratio(latencies.len() as f64, self.wall.as_secs_f64()),
        }
    }
}

/// `a` in units of `b`; 0 where `b` is nothing.
pub fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// Milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The value in the middle; 0 of nothing.
pub fn median(latencies: Vec<Duration>) -> Duration {
    quantile(latencies, 0.5)
}

/// The least value that `share` of the values do not exceed.
fn quantile(mut latencies: Vec<Duration>, share: f64) -> Duration {
    latencies.sort_unstable();
    let rank = (latencies.len() as f64 * share).ceil() as usize;
    latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn mean(latencies: &[Duration]) -> f64 {
    ratio(latencies.iter().copied().map(millis).sum(), latencies.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_compares_the_ends_of_a_run_by_place_and_not_by_arrival() {
        let mut calls: Vec<_> =
            (0..100).map(|place| (place, Duration::from_millis(place as u64 + 1))).collect();
        calls.reverse();
        let line = Samples { calls, wall: Duration::from_secs(2) }.line("x");
        assert_eq!((line.count, line.p50_ms, line.p99_ms), (100, 50.0, 99.0));
        assert_eq!((line.first_ms, line.last_ms), (5.5, 95.5));
        assert!((line.ratio - 95.5 / 5.5).abs() < 1e-9 && line.per_second == 50.0);
    }

    #[test]
    fn nothing_measured_is_nothing_said() {
        let line = Samples::default().line("x");
        assert_eq!((line.count, line.p99_ms, line.ratio, line.per_second), (0, 0.0, 0.0, 0.0));
    }

    #[test]
    fn a_part_has_no_time_of_its_own() {
        let calls = (0..10).map(|place| (place, Duration::from_millis(1))).collect();
        let part = Samples { calls, wall: Duration::from_secs(1) }.only(|place| place % 2 == 0);
        assert_eq!((part.calls.len(), part.wall), (5, Duration::ZERO));
    }
}
