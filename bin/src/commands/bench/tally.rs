//! What is counted and timed, in memory that does not grow with the run.

use std::time::Duration;

use argon::Outcome;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::outcome;
use crate::problem::Problem;
use crate::units::Span;

/// Latencies from 1 us to an hour, to three digits. Longer ones count as an hour.
const NANOS_MIN: u64 = 1_000;
const NANOS_MAX: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// The ends of tasks. What was submitted is the sum of all counts and of what is open.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) submitted: u64,
    pub(super) completed: u64,
    /// By a full manager, after all retries.
    pub(super) rejected: u64,
    /// Failed, expired or lost.
    pub(super) failed: u64,
    /// What the first of those said.
    pub(super) problem: Option<String>,
    /// Run time of all that completed, as the workers measured it.
    ran: Duration,
    latency: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Result<Self, Problem> {
        Ok(Self {
            submitted: 0,
            completed: 0,
            rejected: 0,
            failed: 0,
            problem: None,
            ran: Duration::ZERO,
            latency: Histogram::new_with_bounds(NANOS_MIN, NANOS_MAX, DIGITS)?,
        })
    }

    /// A task ended so, this long after it was submitted.
    pub(super) fn ended(&mut self, outcome: &Outcome, took: Duration) {
        match outcome {
            Outcome::Completed(completion) => {
                self.completed += 1;
                self.ran += completion.last.ran.to_duration().unwrap_or_default();
                let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                self.latency.saturating_record(nanos);
            }
            Outcome::Rejected { .. } => {
                self.rejected += 1;
                self.explain(outcome);
            }
            _ => {
                self.failed += 1;
                self.explain(outcome);
            }
        }
    }

    fn explain(&mut self, outcome: &Outcome) {
        if self.problem.is_none() {
            self.problem = outcome::problem(outcome);
        }
    }

    /// Those that have no end yet.
    pub(super) fn open(&self) -> u64 {
        self.submitted - self.completed - self.rejected - self.failed
    }

    /// The mean run time.
    pub(super) fn service(&self) -> Option<Duration> {
        let completed = u32::try_from(self.completed).ok()?;
        self.ran.checked_div(completed)
    }

    /// The latency below which this share of the completed tasks was.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        (self.completed > 0).then(|| Duration::from_nanos(self.latency.value_at_quantile(share)))
    }

    /// p50, p90, p99, p99.9 and the maximum, for people.
    pub(super) fn cells(&self) -> [String; 5] {
        QUANTILES.map(|(_, share)| match self.quantile(share) {
            Some(span) => Span(span).to_string(),
            None => "-".to_owned(),
        })
    }

    /// The same and the counts for programs. What is open is given up.
    pub(super) fn json(&self) -> Value {
        let mut latency = serde_json::Map::new();
        for (name, share) in QUANTILES {
            let nanos = self.quantile(share).map(|span| span.as_nanos() as u64);
            latency.insert(name.to_owned(), json!(nanos));
        }
        json!({
            "submitted": self.submitted,
            "completed": self.completed,
            "rejected": self.rejected,
            "failed": self.failed,
            "cancelled": self.open(),
            "problem": self.problem,
            "latency_ns": latency,
        })
    }
}

const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p999", 0.999),
    ("max", 1.0),
];

/// A rate, where there was time.
pub(super) fn rate(count: u64, span: Duration) -> f64 {
    let seconds = span.as_secs_f64();
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}
