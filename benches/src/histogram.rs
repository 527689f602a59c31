//! Latencies, in buckets that are 128 to each power of two: less than one percent off.

use std::time::Duration;

use serde_json::{Value, json};

const STEPS_LOG: u32 = 7;
const STEPS: u64 = 1 << STEPS_LOG;

/// Counts of nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; (65 - STEPS_LOG as usize) << STEPS_LOG],
            count: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, nanos: u64) {
        let index = if nanos < STEPS {
            nanos
        } else {
            let shift = nanos.ilog2() - STEPS_LOG;
            (u64::from(shift + 1) << STEPS_LOG) + ((nanos >> shift) & (STEPS - 1))
        };
        self.buckets[index as usize] += 1;
        self.count += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
    }

    /// The least value of the bucket that holds the share `share` of all; nothing of nothing.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let index = index as u64;
                let shift = index >> STEPS_LOG;
                return Duration::from_nanos(match shift {
                    0 => index,
                    _ => ((index & (STEPS - 1)) | STEPS) << (shift - 1),
                });
            }
        }
        Duration::ZERO
    }

    /// What a load prints when it is done: `tasks` in `seconds`.
    pub(crate) fn report(&self, tasks: u64, seconds: f64) -> Value {
        let micros = |share| self.quantile(share).as_nanos() as f64 / 1e3;
        json!({
            "tasks": tasks,
            "all": tasks,
            "seconds": seconds,
            "rate": tasks as f64 / seconds,
            "p50": micros(0.5),
            "p99": micros(0.99),
            "p999": micros(0.999),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_off_by_less_than_a_hundredth() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        (1..=100_000).for_each(|nanos| histogram.add(nanos));
        for share in [0.001, 0.5, 0.99, 0.999, 1.0] {
            let exact = share * 100_000.0;
            let found = histogram.quantile(share).as_nanos() as f64;
            assert!((found - exact).abs() <= exact / 100.0, "{found} of {exact}");
        }
    }

    #[test]
    fn the_longest_times_have_a_place() {
        let mut histogram = Histogram::default();
        histogram.add(u64::MAX);
        histogram.add(0);
        assert_eq!(histogram.quantile(0.0), Duration::ZERO);
        assert!(histogram.quantile(1.0) > Duration::from_secs(500 * 365 * 24 * 3600));
    }
}
