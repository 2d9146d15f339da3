//! Chance, so that many agents that saw the same event do not act in the same instant.

use std::time::Duration;

use rand::RngExt;

/// A time between these two parts of `base`.
pub(crate) fn between(base: Duration, low: f64, high: f64) -> Duration {
    base.mul_f64(rand::rng().random_range(low..high))
}
