//! Latencies, and what a load says of them.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Digits that are right: latencies are off by less than a hundredth.
const DIGITS: u8 = 2;

/// An empty one, of nanoseconds.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("digits that it has")
}

/// What a load prints when it is done: `tasks` in `seconds`.
pub(crate) fn report(latencies: &Histogram<u64>, tasks: u64, seconds: f64) -> Value {
    let micros = |share| latencies.value_at_quantile(share) as f64 / 1e3;
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
