//! How fast a worker is, whatever it happens to run.

use crate::durations::blend;

/// One worker's recent performance: how long tasks take there relative to what the same names take
/// on the whole (1.0 is normal, 2.0 is half as fast), and their average run time.
///
/// The figure is a moving average, so a worker that gets faster or slower is known as such after
/// about a dozen tasks. A newcomer starts at 1.0, with a penalty of a half that fades with its
/// first [`Speed::TRIAL`] completed tasks: next to proven workers with the same load it waits, so
/// a burst does not all go to a worker without a history, but it is used as soon as they are
/// half as loaded again, or full.
#[derive(Clone, Debug)]
pub struct Speed {
    /// In units of 1 / `ONE`.
    slowness: u32,
    /// Completed tasks, counted up to `TRIAL`.
    proven: u32,
    /// Of the run times of completed tasks, in nanoseconds; 0 before the first.
    average: u64,
}

impl Speed {
    /// Completed tasks after which a worker is no newcomer.
    pub const TRIAL: u32 = 4;

    const ONE: u32 = 1 << 16;
    /// One task alone cannot make a worker look more than this much faster or slower.
    const MOST: u32 = 64 * Self::ONE;
    const LEAST: u32 = Self::ONE / 64;
    /// What a failure counts as, however soon it came.
    const FAILED: u32 = 2 * Self::ONE;
    /// A new sample counts for one part in this many.
    const WEIGHT: u64 = 8;
    /// Run times below this are mostly the cost of measuring them.
    const MEASURABLE: u64 = 1_000;

    /// A newcomer.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slowness: Self::ONE,
            proven: 0,
            average: 0,
        }
    }

    /// A task that was expected to run for `expected` nanoseconds (0: unknown) completed after
    /// `ran`.
    pub fn completed(&mut self, expected: u64, ran: u64) {
        if expected > 0 {
            self.learn(Self::ratio(expected, ran));
        }
        self.average = match self.average {
            0 => ran,
            average => blend(average, ran, Self::WEIGHT),
        };
        self.proven = (self.proven + 1).min(Self::TRIAL);
    }

    /// A task failed after `ran` nanoseconds, or took its child down. That never improves the
    /// figure: it counts as twice the normal run time at least, and as a quarter more than the
    /// present figure at least, so that a worker on which nearly everything fails sinks further
    /// and further, while a few failures on every worker (of tasks that are themselves wrong)
    /// leave them comparable.
    pub fn failed(&mut self, expected: u64, ran: u64) {
        let ratio = if expected > 0 {
            Self::ratio(expected, ran)
        } else {
            Self::ONE
        };
        let worse = self.slowness.saturating_add(self.slowness / 4);
        self.learn(ratio.max(Self::FAILED).max(worse).min(Self::MOST));
    }

    /// How slow, in thousandths of normal, with the penalty of a newcomer.
    #[must_use]
    pub fn slowness_millis(&self) -> u32 {
        (u64::from(self.slowness()) * 1_000 / u64::from(Self::ONE)) as u32
    }

    /// Average run time of its completed tasks, in nanoseconds; 0 before the first.
    #[must_use]
    pub fn average(&self) -> u64 {
        self.average
    }

    /// How slow, in units of 2^-16 of normal, with the penalty of a newcomer.
    pub(super) fn slowness(&self) -> u32 {
        let unproven = Self::TRIAL - self.proven;
        self.slowness + self.slowness / (2 * Self::TRIAL) * unproven
    }

    fn ratio(expected: u64, ran: u64) -> u32 {
        let (expected, ran) = (expected.max(Self::MEASURABLE), ran.max(Self::MEASURABLE));
        // Nearly always; a division of twice the width costs more than all else here.
        let ratio = match ran.checked_mul(Self::ONE.into()) {
            Some(scaled) => u128::from(scaled / expected),
            None => u128::from(ran) * u128::from(Self::ONE) / u128::from(expected),
        };
        ratio.clamp(Self::LEAST.into(), Self::MOST.into()) as u32
    }

    fn learn(&mut self, sample: u32) {
        self.slowness = blend(u64::from(self.slowness), u64::from(sample), Self::WEIGHT) as u32;
    }
}

impl Default for Speed {
    fn default() -> Self {
        Self::new()
    }
}
