//! When a rejected task is submitted again.
//!
//! The delay is what the manager advised plus a random part of a ceiling that doubles with every
//! retry ("full jitter": M. Brooker, "Exponential Backoff And Jitter", 2015), so that clients
//! which were rejected together do not come back together. Integers only.

use core::time::Duration;

use crate::rng::Rng;

/// First ceiling of the random part of the delay.
pub const CEILING_FIRST: Duration = Duration::from_millis(10);
/// Largest ceiling of the random part of the delay.
pub const CEILING_MAX: Duration = Duration::from_secs(5);
/// Longest advice that is followed: a manager cannot put its clients to sleep for ever.
pub const HINT_MAX: Duration = Duration::from_secs(30);

/// What to do with a rejected task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was tried often enough.
    GiveUp,
    /// Submit it again after this long.
    After(Duration),
}

/// How often, and how patiently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Most retries of one task; `None`: without end.
    pub limit: Option<u32>,
}

impl Retry {
    /// Judges a task that was rejected after `retries` retries, by a manager that advised to wait
    /// for `hint`.
    pub fn judge(&self, retries: u32, hint: Duration, rng: &mut Rng) -> Verdict {
        if self.limit.is_some_and(|limit| retries >= limit) {
            return Verdict::GiveUp;
        }
        Verdict::After(hint.min(HINT_MAX) + rng.jitter(Self::ceiling(retries)))
    }

    /// The largest random part of the delay after `retries` retries.
    #[must_use]
    pub fn ceiling(retries: u32) -> Duration {
        // 2^9 times the first ceiling is above the largest.
        (CEILING_FIRST * (1 << retries.min(9))).min(CEILING_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    proptest! {
        #[test]
        fn the_hint_is_honoured_and_the_jitter_bounded(
            retries in 0..40_u32,
            hint_ms in 0..60_000_u64,
            seed: u64,
        ) {
            let retry = Retry { limit: None };
            let hint = Duration::from_millis(hint_ms);
            let Verdict::After(delay) = retry.judge(retries, hint, &mut Rng::from_seed(seed))
            else {
                panic!("no limit, no end");
            };
            let hint = hint.min(HINT_MAX);
            prop_assert!(delay >= hint);
            prop_assert!(delay <= hint + Retry::ceiling(retries));
        }

        #[test]
        fn ceilings_only_rise(retries in 0..100_u32) {
            prop_assert!(Retry::ceiling(retries) <= Retry::ceiling(retries + 1));
            prop_assert!(Retry::ceiling(retries) <= CEILING_MAX);
        }

        #[test]
        fn a_limit_allows_exactly_as_many(limit in 0..20_u32, retries in 0..40_u32) {
            let retry = Retry { limit: Some(limit) };
            let verdict = retry.judge(retries, Duration::ZERO, &mut Rng::from_seed(1));
            prop_assert_eq!(verdict == Verdict::GiveUp, retries >= limit);
        }
    }

    #[test]
    fn the_jitter_uses_its_whole_range() {
        let mut rng = Rng::from_seed(5);
        let retry = Retry { limit: None };
        let delays: std::vec::Vec<_> = (0..1_000)
            .map(|_| match retry.judge(3, Duration::ZERO, &mut rng) {
                Verdict::After(delay) => delay,
                Verdict::GiveUp => panic!("no limit, no end"),
            })
            .collect();
        let ceiling = Retry::ceiling(3);
        assert!(delays.iter().any(|delay| *delay < ceiling / 10));
        assert!(delays.iter().any(|delay| *delay > ceiling * 9 / 10));
    }
}
