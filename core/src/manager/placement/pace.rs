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

    /// So many tasks ended.
    pub(super) fn ended(&mut self, now: Instant, tasks: u64) {
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
        self.period_ends += tasks;
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
        self.second_ends += tasks;
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * MS)
    }

    fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn run_times_are_shared_by_the_slots() {
        let mut pace = Pace::new(at(0));
        assert_eq!(pace.estimate(10, 4), Duration::ZERO, "nothing is known");
        pace.completed(8 * MS);
        assert_eq!(pace.estimate(0, 4), Duration::ZERO);
        assert_eq!(pace.estimate(10, 4), millis(20));
        assert_eq!(pace.estimate(10, 0), millis(80), "as with one");
        pace.completed(16 * MS);
        assert_eq!(pace.estimate(2, 1), millis(17), "a sixteenth is new");
        for _ in 0..400 {
            pace.completed(0);
        }
        assert!(pace.estimate(1, 1) < Duration::from_nanos(20));
        assert!(
            pace.estimate(1, 1) > Duration::ZERO,
            "it is known all the same"
        );
    }

    /// Ends so many tasks, evenly, in each of some periods of 100 ms.
    fn ends(pace: &mut Pace, from: u64, periods: u64, each: u64) {
        for period in 0..periods {
            for index in 0..each {
                pace.ended(at(from + period * 100 + index * 100 / each), 1);
            }
        }
    }

    /// Where the run time says nothing (something else is the bottleneck) the rate does.
    #[test]
    fn the_rate_corrects_run_times_that_are_too_short() {
        let mut pace = Pace::new(at(0));
        pace.completed(MS);
        ends(&mut pace, 0, 1, 50);
        assert_eq!(pace.estimate(10, 1), millis(10), "no whole period yet");
        ends(&mut pace, 100, 1, 50);
        // 2 ms between two ends.
        assert_eq!(pace.estimate(10, 1), millis(20));
        // Never by more than four times the run time.
        assert_eq!(pace.estimate(10, 100), Duration::from_micros(400));
        // Or 10 us a task, where that is more.
        assert_eq!(pace.estimate(10, 1_000), Duration::from_micros(100));
        ends(&mut pace, 200, 1, 25);
        assert_eq!(
            pace.estimate(10, 1),
            millis(20),
            "the period that just ended"
        );
        ends(&mut pace, 300, 1, 25);
        assert_eq!(
            pace.estimate(10, 1),
            millis(25),
            "a quarter of the way to 4 ms"
        );
    }

    #[test]
    fn a_pause_says_nothing_of_the_rate() {
        let mut pace = Pace::new(at(0));
        pace.completed(MS);
        pace.ended(at(0), 1);
        pace.ended(at(400), 1);
        assert_eq!(pace.estimate(10, 1), millis(10));
        let mut pace = Pace::new(at(0));
        pace.completed(MS);
        pace.ended(at(0), 1);
        pace.ended(at(399), 1);
        assert_eq!(pace.estimate(10, 1), millis(40), "it was merely slow");
    }

    #[test]
    fn the_rate_is_that_of_the_last_whole_second() {
        let mut pace = Pace::new(at(0));
        ends(&mut pace, 0, 10, 3);
        assert_eq!(pace.rate(at(999)), 0, "there was none yet");
        assert_eq!(pace.rate(at(1_000)), 30);
        assert_eq!(pace.rate(at(1_999)), 30);
        assert_eq!(pace.rate(at(2_000)), 0);
        ends(&mut pace, 1_000, 10, 5);
        assert_eq!(pace.rate(at(1_999)), 30);
        assert_eq!(pace.rate(at(2_000)), 50);
        pace.ended(at(2_999), 1);
        assert_eq!(pace.rate(at(2_999)), 50);
        pace.ended(at(4_999), 1);
        assert_eq!(pace.rate(at(4_999)), 0, "the second before was idle");
    }
}
