//! What becomes of a rejected task: another try after a growing, jittered delay, or the end.
//!
//! Owns: the arithmetic. Never: knows a task, a manager or a clock. Integers only, so that a seed
//! gives the same delays everywhere.

use core::time::Duration;

use crate::rng::Rng;

/// Ceiling of the first delay: a few times what a manager takes to turn over a short queue.
pub const BASE: Duration = Duration::from_millis(25);
/// Highest ceiling: a client that was refused for minutes notices within seconds that the
/// manager has room again.
pub const CAP: Duration = Duration::from_secs(5);
/// Longest advice that is followed: a manager that says "in a year" is broken, not busy.
pub const HINT_MAX: Duration = Duration::from_secs(60);

/// How often, and how long after each other, a rejected task is submitted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often at most; `None`: for ever.
    pub allowed: Option<u32>,
    /// Ceiling of the first delay; it doubles with every try.
    pub base: Duration,
    /// What the ceiling stops at.
    pub cap: Duration,
}

impl Retry {
    /// The usual delays, `allowed` times.
    #[must_use]
    pub const fn new(allowed: Option<u32>) -> Self {
        Self {
            allowed,
            base: BASE,
            cap: CAP,
        }
    }

    /// Whether a task that has been submitted again `retries` times before may not be once more.
    #[must_use]
    pub fn is_used_up(&self, retries: u32) -> bool {
        self.allowed.is_some_and(|allowed| retries >= allowed)
    }

    /// The delay after `tries` earlier ones: what the manager advised, and on top of it a span
    /// drawn evenly from zero to the ceiling, so that clients that were refused together do not
    /// come back together.
    #[must_use]
    pub fn delay(&self, tries: u32, hint: Duration, rng: &mut Rng) -> Duration {
        hint.min(HINT_MAX) + rng.jitter(self.ceiling(tries))
    }

    /// The longest jitter after `tries` earlier delays.
    #[must_use]
    pub fn ceiling(&self, tries: u32) -> Duration {
        let factor = 1_u32 << tries.min(31);
        self.base.saturating_mul(factor).min(self.cap)
    }
}
