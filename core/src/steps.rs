//! Steps that a machine takes, for tests that hold each message against a bound.
//!
//! Loops over tasks, workers, names and whatever else there may be many of count their turns here.
//! Without the feature `count_steps` that is nothing.

#[cfg(feature = "count_steps")]
use std::thread_local;

#[cfg(feature = "count_steps")]
thread_local! {
    static STEPS: core::cell::Cell<u64> = const { core::cell::Cell::new(0) };
}

/// One turn of a loop.
#[inline(always)]
pub(crate) fn step() {
    #[cfg(feature = "count_steps")]
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// Steps taken on this thread since the last call.
#[cfg(feature = "count_steps")]
#[must_use]
pub fn take() -> u64 {
    STEPS.with(core::cell::Cell::take)
}
