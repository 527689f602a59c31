//! How fast tasks end, for estimates: of waits, of when to come back, and for the status report.

use core::time::Duration;

use crate::time::Instant;

/// Samples count for a sixteenth each.
const WEIGHT: u64 = 16;
/// How often the rate is looked at.
const PERIOD: Duration = Duration::from_millis(100);

/// A record of recent ends.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// Smoothed run time of completed attempts, in nanoseconds; 0 while unknown.
    mean_run: u64,
    period_start: Instant,
    period_ends: u64,
    /// Ends in the last whole second, and the second that is being counted.
    last_second: u64,
    second_start: Instant,
    second_ends: u64,
    /// Nanoseconds between two ends at the busiest of late; 0 while unknown.
    gap: u64,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            mean_run: 0,
            period_start: now,
            period_ends: 0,
            last_second: 0,
            second_start: now,
            second_ends: 0,
            gap: 0,
        }
    }

    /// An attempt completed after running for `ran` nanoseconds.
    pub(super) fn completed(&mut self, ran: u64) {
        self.mean_run = if self.mean_run == 0 {
            ran.max(1)
        } else {
            (self.mean_run - self.mean_run / WEIGHT + ran / WEIGHT).max(1)
        };
    }

    /// A task ended.
    pub(super) fn ended(&mut self, now: Instant) {
        let period = now.since(self.period_start);
        if period >= PERIOD {
            if period < PERIOD * 4 && self.period_ends > 0 {
                let sample = (period.as_nanos() as u64 / self.period_ends).max(1);
                self.gap = if self.gap == 0 {
                    sample
                } else {
                    self.gap - self.gap / 4 + sample / 4
                };
            }
            self.period_start = now;
            self.period_ends = 0;
        }
        self.period_ends += 1;
        let second = now.since(self.second_start);
        if second >= Duration::from_secs(1) {
            self.last_second = if second < Duration::from_secs(2) {
                self.second_ends
            } else {
                0
            };
            self.second_start = now;
            self.second_ends = 0;
        }
        self.second_ends += 1;
    }

    /// Tasks that ended in the last whole second.
    pub(super) fn rate(&self, now: Instant) -> u64 {
        let second = now.since(self.second_start);
        if second < Duration::from_secs(1) {
            self.last_second
        } else if second < Duration::from_secs(2) {
            self.second_ends
        } else {
            0
        }
    }

    /// How long `ahead` tasks will take on `capacity` slots: by their run time, or by the rate at
    /// which tasks really end if something else bounds that.
    pub(super) fn estimate(&self, ahead: u64, capacity: u64) -> Duration {
        if ahead == 0 {
            return Duration::ZERO;
        }
        let by_run = self.mean_run.saturating_mul(ahead) / capacity.max(1);
        let by_rate = self.gap.saturating_mul(ahead);
        // The rate is low when there is little to do, so it can only correct run times that are
        // too short to matter.
        let floor = by_rate.min(by_run.saturating_mul(4).max(ahead.saturating_mul(10_000)));
        Duration::from_nanos(by_run.max(floor))
    }
}
