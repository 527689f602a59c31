//! The clocks of a small cluster, in nanoseconds.

use crate::options::{MS, S};

/// The clocks, shorter than the defaults where waiting would only cost steps.
pub(crate) const GRACE: u64 = 250 * MS;
pub(crate) const LEASE: u64 = 2 * S;
pub(crate) const RESTART_GRACE: u64 = 3 * S;
pub(crate) const RESUME_TIMEOUT: u64 = 6 * S;
pub(crate) const DRAIN_TIMEOUT: u64 = 4 * S;
pub(crate) const KILL_GRACE: u64 = S;
