//! Where time and chance come in.

use std::time::Duration;

use argon_core::time::Instant;
use tokio::time::Instant as SystemInstant;

use crate::error::StartError;

/// Far enough off to be never, near enough to be counted with.
const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Time since a driver started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: SystemInstant,
}

impl Clock {
    /// A clock that shows zero now.
    pub(crate) fn start() -> Self {
        Self {
            start: SystemInstant::now(),
        }
    }

    /// What it shows.
    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// When it will show `at`.
    pub(crate) fn when(&self, at: Instant) -> SystemInstant {
        self.start + at.since(Instant::ZERO).min(NEVER)
    }
}

/// 64 random bits of the system.
pub(crate) fn entropy() -> Result<u64, StartError> {
    getrandom::u64().map_err(|_| StartError::Entropy)
}
